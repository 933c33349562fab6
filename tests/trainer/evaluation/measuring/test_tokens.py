"""Likelihood, tokens and bytes of every row are in its place, whatever is computed at once."""

from typing import Any

import pytest
import torch

from finetune.api.evaluation import Generation
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import tiny_model, tiny_tokenizer
from tests.trainer.fixtures.examples import chat, text
from trainer.data.rows import Example
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import measure
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.metrics.evidence import TokenRows
from trainer.tasks.base import Task
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING
from trainer.training.batches import AtOnce


def rows_of(task: Task[Any], examples: list[Example], at_once: AtOnce, max_length: int = 100, *, tagged: bool = True) -> TokenRows:
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    tokenizer = tiny_tokenizer()
    samples = [piece.tokens for example in examples for piece in task.encode(example, tokenizer, max_length)]
    held_out = HeldOut(task, tokenizer, examples, samples, at_once, max_length, Generation(), tagged=tagged)
    [found] = measure(engine, forward_of(engine), held_out, task.route.validated).evidence.values()
    assert isinstance(found, TokenRows)
    return found


def by_hand(task: Task[Any], example: Example, max_length: int = 100) -> tuple[float, int]:
    """Return likelihood and tokens of one row, one piece at a time, by PyTorch's cross-entropy in float64."""
    model, nll, tokens = tiny_model().double().eval(), 0.0, 0
    for piece in task.encode(example, tiny_tokenizer(), max_length):
        ids, wanted = torch.tensor(piece.tokens.input_ids), torch.tensor(piece.tokens.loss_mask, dtype=torch.bool)[1:]
        with torch.no_grad():
            logits = model(ids[None]).logits[0, :-1][wanted]
        nll += float(torch.nn.functional.cross_entropy(logits, ids[1:][wanted], reduction="sum"))
        tokens += int(wanted.sum())
    return nll, tokens


CHATS: list[Example] = [chat(f"what is row {number}?" * (number + 1), f"a row with number {number}" * (5 - number)) for number in range(5)]
TEXTS: list[Example] = [text("a job trains a model on rows of data, é! " * number) for number in (1, 5, 2, 3)]


@pytest.mark.parametrize("at_once", [AtOnce(1), AtOnce(2), AtOnce(50), AtOnce(3, 120)], ids=["one", "two", "all", "as they fit"])
@pytest.mark.parametrize(("task", "examples"), [(CHAT, CHATS), (LANGUAGE_MODELING, TEXTS)], ids=["chat", "pieces of texts"])
def test_each_row_has_the_likelihood_that_it_has_alone(task: Task[Any], examples: list[Example], at_once: AtOnce) -> None:
    found, expected = rows_of(task, examples, at_once, 40), [by_hand(task, example, 40) for example in examples]
    assert found.tokens.tolist() == [tokens for _, tokens in expected]
    assert found.nll.tolist() == pytest.approx([nll for nll, _ in expected], rel=1e-5)


def test_the_rows_know_the_source_that_they_were_read_from() -> None:
    found = rows_of(CHAT, CHATS, AtOnce(2))
    assert (found.source.names, found.group.names) == ((CHATS[0].source,), ("",))
    assert len(found.source.which) == len(CHATS)
    assert rows_of(CHAT, CHATS, AtOnce(2), tagged=False).source.names == ()
