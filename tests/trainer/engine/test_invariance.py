"""Loss and gradient do not depend on how a global batch is split; a resumed engine goes on bit for bit."""

import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.trainer.engine.program import (
    BFLOAT16_MASTERS,
    ENGINES,
    LABEL_SMOOTHING,
    NEW_TOKENS,
    PACKED_MICRO_BATCHES,
    PROMPTS,
    ROWS,
    SPLITS,
    SUMS,
    TOO_LARGE,
    UNEVEN,
    rows_of_step,
)
from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks
from tests.trainer.fixtures.optimizers import Momentum
from trainer.engine.optimizer import AdamW, Optimizer

PROGRAM = Path(__file__).with_name("program.py")
PACKED = [(world, engine, micro) for world in (1, 2) for engine in ENGINES for micro in PACKED_MICRO_BATCHES]
DEALT = [(world, engine, micro) for world in (1, 2) for engine, micro in SPLITS if world * micro <= ROWS]

pytestmark = [pytest.mark.timeout(2 * RANKS_SECONDS), pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, dict]]:
    return fork_ranks(PROGRAM, tmp_path_factory.mktemp("ranks"), (1, 2))


@pytest.fixture(scope="module")
def reference(results: dict[int, dict[str, dict]]) -> dict:
    return results[1][f"step/ddp/{ROWS}"]


@pytest.mark.parametrize(("world_size", "engine", "micro"), DEALT, ids=lambda value: str(value))
def test_loss_and_gradients_are_those_of_the_unsplit_batch(results, reference, world_size: int, engine: str, micro: int) -> None:
    found = results[world_size][f"step/{engine}/{micro}"]
    assert found["loss"] == pytest.approx(reference["loss"], rel=1e-5)
    assert found["norm"] == pytest.approx(reference["norm"], rel=1e-5)
    assert_same_gradients(found["gradients"], reference["gradients"])


@pytest.mark.parametrize(("world_size", "engine", "micro"), PACKED, ids=lambda value: str(value))
def test_packed_rows_have_the_loss_and_the_gradients_of_padded_ones(results, reference, world_size: int, engine: str, micro: int) -> None:
    found = results[world_size][f"packed-step/{engine}/{micro}"]
    assert found["loss"] == pytest.approx(reference["loss"], rel=1e-5)
    assert found["norm"] == pytest.approx(reference["norm"], rel=1e-5)
    assert_same_gradients(found["gradients"], reference["gradients"])
    perplexity = results[world_size][f"packed-perplexity/{engine}/{micro}"]["value"]
    assert perplexity == pytest.approx(results[1]["perplexity/ddp/1"]["value"], rel=1e-6)


def assert_same_gradients(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = max(abs(value) for value in values)
        assert found[name] == pytest.approx(values, rel=1e-5, abs=1e-5 * scale), name


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["step-peft", "step-fused"])
def test_every_engine_trains_adapters_as_one_process_with_plain_peft_does(results, world_size: int, engine: str, kind: str) -> None:
    found, expected = results[world_size][f"{kind}/{engine}"], results[1]["step-peft/ddp"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["norm"] == pytest.approx(expected["norm"], rel=1e-5)
    assert_same_gradients(found["gradients"], expected["gradients"])


@cache
def by_hand(count: int, smoothing: float) -> tuple[float, dict[str, list[float]]]:
    """Return mean loss and gradient of the first rows in float64, row by row without padding, by PyTorch's cross-entropy."""
    from torch.nn.functional import cross_entropy

    from tests.trainer.engine.program import new_model

    model, nll, objective, tokens = new_model().double().eval(), 0.0, torch.zeros((), dtype=torch.float64), 0
    for row in rows_of_step(0)[:count]:
        ids, wanted = torch.tensor(row.input_ids), torch.tensor(row.loss_mask, dtype=torch.bool)[1:]
        logits, targets = model(ids[None]).logits[0, :-1][wanted], ids[1:][wanted]
        nll += float(cross_entropy(logits.detach(), targets, reduction="sum"))
        objective = objective + cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
        tokens += len(targets)
    (objective / tokens).backward()
    return nll / tokens, {name: parameter.grad.flatten().tolist() for name, parameter in model.named_parameters()}


def test_the_reference_is_what_an_independent_computation_gives(reference) -> None:
    loss, gradients = by_hand(ROWS, LABEL_SMOOTHING)
    assert reference["loss"] == pytest.approx(loss, rel=1e-5)
    assert_same_gradients(reference["gradients"], gradients)


@pytest.mark.parametrize(("world_size", "engine", "batch_size"), DEALT, ids=lambda value: str(value))
def test_perplexity_is_that_of_all_rows_however_they_are_dealt(results, world_size: int, engine: str, batch_size: int) -> None:
    nll, _ = by_hand(UNEVEN, 0.0)
    assert results[world_size][f"perplexity/{engine}/{batch_size}"]["value"] == pytest.approx(math.exp(nll), rel=1e-6)


@cache
def answers_alone() -> list[str]:
    from tests.trainer.engine.program import new_model
    from tests.trainer.fixtures.causal import tiny_tokenizer
    from trainer.evaluation.generation import generate

    return [generate(new_model(), tiny_tokenizer(), [prompt], NEW_TOKENS)[0].text for prompt in PROMPTS]


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("engine", [*ENGINES, "zero3-sharded"])
@pytest.mark.parametrize("count", [1, len(PROMPTS)], ids=["one prompt", "uneven prompts"])
def test_answers_are_those_to_each_prompt_alone_however_they_are_dealt(results, world_size: int, engine: str, count: int) -> None:
    expected = answers_alone()[:count]
    assert len(set(expected)) == count, "the test needs prompts with different answers"
    assert results[world_size][f"answers/{engine}/{count}"]["texts"] == expected


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [("resume", AdamW), ("resume-bfloat16", AdamW), ("resume-float16", AdamW), ("resume-momentum", Momentum)],
)
def test_a_state_taken_to_a_new_engine_continues_bit_for_bit(
    results, world_size: int, engine: str, kind: str, optimizer: type[Optimizer]
) -> None:
    found = figures_of(results, world_size, f"{kind}/{engine}")
    assert found["slots"] == sorted(optimizer.slots)
    assert found["moved"], "the step after the checkpoint must change the weights, or the comparison shows nothing"
    assert found["reread"]
    assert found["alone"], "the parameters alone must be those of the state"
    assert found["equal"]


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_that_overflowed_float16_is_taken_as_if_its_scale_had_fitted_at_once(
    results, reference, world_size: int, engine: str
) -> None:
    found = figures_of(results, world_size, f"float16/{engine}")
    assert 1 < found["scale"] < TOO_LARGE
    assert found["alike"]
    assert found["loss"] == pytest.approx(reference["loss"], rel=1e-4)
    assert found["norm"] == pytest.approx(reference["norm"], rel=1e-3), "the norm is that of the gradient before it was scaled"


def figures_of(results, world_size: int, key: str) -> dict:
    """Return what the ranks wrote under `key`; skip the test where this CPU cannot compute it."""
    sharded = re.search(r"^(resume-)?float16/zero[123]$", key) is not None
    if sharded and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        pytest.skip("DeepSpeed's stages compute in float16 only on CPUs that have it")
    return results[world_size][key]


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["base", "base-bfloat16"])
def test_the_base_model_gives_the_same_figures_after_its_adapters_were_trained(results, world_size: int, engine: str, kind: str) -> None:
    found = results[world_size][f"{kind}/{engine}"]
    assert found["base"] == found["before"]
    assert found["tuned"][0] != found["before"][0], "training must change the model, or the comparison shows nothing"
    assert found["kept"], "measuring the base model must leave the tuned one as it was"
    assert found["goes on"]


@pytest.mark.parametrize("engine", BFLOAT16_MASTERS)
def test_a_bfloat16_gradient_does_not_wear_off_over_many_micro_batches(results, engine: str) -> None:
    # bfloat16 has 8 bits: one forward and backward is good to about 0.003, and a sum of 128 in bfloat16 to 0.01 only.
    assert results[1][f"accumulation/{engine}"]["error"] < 0.006


@pytest.mark.parametrize("engine", BFLOAT16_MASTERS)
def test_bfloat16_gradients_of_ranks_are_averaged_in_float32(results, engine: str) -> None:
    # The average of two that was rounded to bfloat16 is wrong by up to 0.004.
    assert results[2][f"reduction/{engine}"]["error"] < 1e-5


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("state", "unbroken", "tolerance"),
    [
        # AdamW divides by the root of the second moment: where a gradient is nearly 0, its last bits decide a step's direction.
        pytest.param("resume", "resume", 1e-4, id="its own state"),
        pytest.param("elsewhere", "resume", 1e-4, id="the state of one process"),
        pytest.param("resume-momentum", "resume-momentum", 1e-7, id="its own state, of another optimizer"),
    ],
)
def test_every_engine_ends_at_the_same_weights(results, world_size: int, engine: str, state: str, unbroken: str, tolerance: float) -> None:
    found, expected = results[world_size][f"{state}/{engine}"]["parameters"], results[1][f"{unbroken}/ddp"]["parameters"]
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("world_size", [1, 2])
def test_two_threads_of_a_rank_add_numbers_over_ranks_without_an_order_between_them(results, world_size: int) -> None:
    found = results[world_size]["threads"]
    assert found["aside"] == [[float(world_size * number)] for number in range(SUMS)]
    assert found["own"] == [[float(world_size * (SUMS + number))] for number in range(SUMS)]


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize(("read", "steps"), [("at once", 2), ("late", 3)])
def test_all_ranks_stop_after_the_same_step_although_only_one_is_asked(results, world_size: int, read: str, steps: int) -> None:
    assert results[world_size]["stop"][read] == [steps] * world_size
