"""What is measured is what was asked for, with no more work and no more memory than that needs."""

import json
from typing import Any

import pytest
import torch

from finetune.api.evaluation import Evaluation, Generation
from finetune.api.sections import Packing
from tests.trainer.evaluation.metrics.builders import ALL
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import tiny_model, tiny_tokenizer
from tests.trainer.fixtures.examples import chat, text
from trainer.chat.tokens import prompt_and_reference
from trainer.chat.turnend import turn_stops
from trainer.data.rows import Example
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import measure
from trainer.evaluation.generation import AnswerForm, generate
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.measuring.tokens import token_rows
from trainer.model.packing import padded_because
from trainer.objectives.causal import CAUSAL
from trainer.tasks.base import Task
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING
from trainer.training.batches import AtOnce

FORM = AnswerForm(turn_stops(tiny_tokenizer()))
CHATS = [chat(f"what is row {number}?", f"a row with number {number}") for number in range(5)]


def measured(examples: list[Example], task: Task[Any], max_length: int = 100, **evaluation: Any) -> Measurement:
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    tokenizer, wanted = tiny_tokenizer(), Evaluation.model_validate({"generation": {"maxNewTokens": 6, "samples": 4}} | evaluation)
    rows = [piece.tokens for example in examples for piece in task.encode(example, tokenizer, 100)]
    held_out = HeldOut(task, tokenizer, examples, rows, AtOnce(2, 200), max_length, wanted.generation or Generation())
    return measure(engine, forward_of(engine), held_out, wanted.metrics_of(task.route))


@pytest.mark.parametrize(
    ("metrics", "names", "answers"),
    [
        pytest.param(None, {"exactMatch", "bleu", "chrf", "wer"}, 4, id="those of the task by default"),
        pytest.param(list(ALL), set(ALL), 4, id="all"),
        pytest.param(["chrf"], {"chrf"}, 4, id="one of them"),
        pytest.param(["perplexity"], set(), 0, id="none, and no answers"),
    ],
)
def test_a_chat_is_measured_by_perplexity_and_the_metrics_asked_for(metrics: list[str] | None, names: set[str], answers: int) -> None:
    found = measured(CHATS, CHAT, metrics=metrics)
    assert set(found.figures) == {"perplexity", "bitsPerByte"} | names
    asked = [prompt_and_reference(example, tiny_tokenizer()) for example in CHATS[:answers]]
    expected = generate(tiny_model(), tiny_tokenizer(), [prompt for prompt, _ in asked], 6, 1, FORM)
    assert [(answer.answer, answer.cut) for answer in found.predictions] == [(answer.text, answer.cut) for answer in expected]
    assert [answer.references for answer in found.predictions] == [(reference,) for _, reference in asked]


def test_nothing_is_generated_for_metrics_that_the_references_leave_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.predictors.generate", lambda *_, **__: pytest.fail("an answer was generated"))
    found = measured([chat("even?", "是"), chat("odd?", "不是")], CHAT, metrics=["bleu", "wer"])
    assert set(found.values()) == {"perplexity", "bitsPerByte"}
    assert {name: figure.value for name, figure in found.figures.items() if figure.reason} == {"bleu": None, "wer": None}


def test_a_prompt_longer_than_a_row_may_be_is_answered_without_its_beginning() -> None:
    long = chat("so " * 60 + "what?", "a row with a number")
    [answer] = measured([long], CHAT, max_length=40).predictions
    prompt, _ = prompt_and_reference(long, tiny_tokenizer())
    assert answer.answer == generate(tiny_model(), tiny_tokenizer(), [prompt[-40:]], 6, form=FORM)[0].text


def test_a_measurement_outlives_a_checkpoint() -> None:
    found = measured(CHATS, CHAT)
    assert Measurement.from_state(json.loads(json.dumps(found.to_state()))) == found


def test_plain_text_is_measured_by_perplexity_alone() -> None:
    found = measured([text("a job trains a model"), text("a checkpoint")], LANGUAGE_MODELING)
    assert set(found.values()) == {"perplexity", "bitsPerByte"}
    assert found.predictions == ()


def test_perplexity_is_the_same_padded_and_packed_and_at_any_batch_size() -> None:
    texts = [text("a job trains a model on rows of data, é! " * number) for number in (1, 5, 2, 2, 3)]
    rows = [piece.tokens for example in texts for piece in LANGUAGE_MODELING.encode(example, tiny_tokenizer(), 40)]
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    expected = token_rows(engine, forward_of(engine), CAUSAL, rows, AtOnce(1)).sums.nll_sum
    found = [token_rows(engine, forward_of(engine), CAUSAL, rows, AtOnce(size)).sums.nll_sum for size in (2, 3, 50)]
    forward = forward_of(engine)
    assert padded_because(engine.model, forward.compute, forward.arguments, Packing.ALWAYS, engine.gather) is None
    found += [token_rows(engine, forward_of(engine), CAUSAL, rows, AtOnce(2, packed=tokens)).sums.nll_sum for tokens in (1, 64, 10_000)]
    assert found == pytest.approx([expected] * len(found), rel=1e-6)


def test_figures_of_a_long_text_depend_on_its_cuts_by_context_alone() -> None:
    # A model without layers sees one token at a time, so cuts take no context away.
    engine = DdpEngine(tiny_model(layers=0), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    examples = [text("a job trains a model on rows of data, é! " * 5), text("a checkpoint")]
    found = []
    for length in (120, 13, 8):
        rows = [piece.tokens for example in examples for piece in LANGUAGE_MODELING.encode(example, tiny_tokenizer(), length)]
        found.append(token_rows(engine, forward_of(engine), CAUSAL, rows, AtOnce(2)))
    assert [rows.tokens.tolist() for rows in found] == [found[0].tokens.tolist()] * 3, "a text is a row, however it is cut"
    assert [rows.bytes.tolist() for rows in found] == [found[0].bytes.tolist()] * 3
    for rows in found[1:]:
        assert rows.nll.tolist() == pytest.approx(found[0].nll.tolist(), rel=1e-5)
