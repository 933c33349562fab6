"""Encoder-decoders through every engine: loss, gradients and answers do not depend on how rows are dealt to micro-batches and ranks."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.trainer.engine.program import ROWS
from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks
from tests.trainer.engine.seq2seq_program import (
    ENGINES,
    FIRSTS,
    METHODS,
    NEW_TOKENS,
    PROMPTS,
    SPLITS,
    UNEVEN,
    WARM_ENGINES,
    WARM_STEPS,
    WORDS,
    new_model,
    rows,
)
from tests.trainer.engine.test_invariance import assert_same_gradients
from tests.trainer.fixtures.seq2seq import KINDS, PAD, word_tokenizer
from trainer.evaluation.generation import generate

PROGRAM = Path(__file__).with_name("seq2seq_program.py")
WORLDS = pytest.mark.parametrize("world_size", [1, 2])

pytestmark = [pytest.mark.timeout(2 * RANKS_SECONDS), pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    return fork_ranks(PROGRAM, tmp_path_factory.mktemp("seq2seq-ranks"), (1, 2))


@cache
def by_hand(kind: str, count: int, smoothing: float) -> tuple[float, dict[str, list[float]], float]:
    """Return mean loss, its gradient and the summed likelihood of the first rows, by PyTorch in float64, row by row without padding."""
    model = new_model(kind).double().eval()
    nll, objective, tokens = 0.0, torch.zeros((), dtype=torch.float64), 0
    for row in rows()[:count]:
        cut = len(row.input_ids) - sum(row.loss_mask)
        source, target = torch.tensor(row.input_ids[:cut]), torch.tensor(row.input_ids[cut:])
        read = torch.cat([torch.tensor([PAD]), target[:-1]])
        logits = model(input_ids=source[None], decoder_input_ids=read[None]).logits[0]
        nll += float(cross_entropy(logits.detach(), target, reduction="sum"))
        objective = objective + cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
        tokens += len(target)
    (objective / tokens).backward()
    return nll / tokens, {name: one.grad.flatten().tolist() for name, one in model.named_parameters() if one.grad is not None}, nll


@WORLDS
@pytest.mark.parametrize(("kind", "engine", "micro"), SPLITS, ids=str)
def test_loss_and_gradients_are_those_of_each_row_alone(results, world_size: int, kind: str, engine: str, micro: int) -> None:
    loss, gradients, _ = by_hand(kind, ROWS, 0.1)
    found = results[world_size][f"step/{kind}/{engine}/{micro}"]
    assert found["losses"] == pytest.approx([loss], rel=1e-5)
    assert found["gradients"].keys() == gradients.keys()
    # The largest of all: some gradients, such as of the bias of keys, are 0 but for rounding.
    scale = max(abs(value) for values in gradients.values() for value in values)
    for name, values in gradients.items():
        assert found["gradients"][name] == pytest.approx(values, rel=1e-5, abs=1e-5 * scale), name


@WORLDS
@pytest.mark.parametrize(("kind", "engine", "micro"), SPLITS, ids=str)
def test_likelihoods_of_an_uneven_number_of_rows_are_those_of_each_alone(
    results, world_size: int, kind: str, engine: str, micro: int
) -> None:
    *_, nll = by_hand(kind, UNEVEN, 0.0)
    assert results[world_size][f"nll/{kind}/{engine}/{micro}"] == pytest.approx(nll, rel=1e-6)


@cache
def answers_alone() -> list[str]:
    model, tokenizer = new_model("t5"), word_tokenizer(WORDS)
    return [generate(model, tokenizer, [one], NEW_TOKENS, firsts=[first])[0].text for one, first in zip(PROMPTS, FIRSTS, strict=True)]


@WORLDS
@pytest.mark.parametrize("engine", ENGINES)
def test_answers_are_those_to_each_source_alone_and_keep_their_own_first_token(results, world_size: int, engine: str) -> None:
    expected = answers_alone()
    assert len(set(expected)) > 1, "the test needs sources with different answers"
    assert results[world_size][f"answers/{engine}"] == expected


@WORLDS
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_trains_adapters_alike(results, world_size: int, engine: str) -> None:
    found, expected = results[world_size][f"adapters/{engine}"], results[1]["adapters/ddp"]
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)
    assert found["norm"] == pytest.approx(expected["norm"], rel=1e-5)
    assert_same_gradients(found["gradients"], expected["gradients"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_on_sharded_optimizer_states_learns_as_one_process_does(results, kind: str) -> None:
    alone, together = (results[world_size]["run"][kind] for world_size in (1, 2))
    assert together == pytest.approx(alone, rel=1e-3)
    assert together[-1] < 0.5 * together[0]


@pytest.mark.parametrize("engine", WARM_ENGINES)
@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_train_a_model_with_a_part_that_nothing_is_computed_with_as_one_does(results, method: str, engine: str) -> None:
    alone, together = (results[world_size][f"warm start/{method}/{engine}"] for world_size in (1, 2))
    assert len(alone) == WARM_STEPS
    assert together == pytest.approx(alone, rel=1e-3)
