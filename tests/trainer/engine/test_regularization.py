"""Penalties and noise through every engine: what a step computes does not depend on how rows are dealt to micro-batches and ranks."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import cross_entropy

from tests.trainer.engine.penalties_program import (
    BASE_KL,
    ENGINES,
    SMOOTHING,
    SPLITS,
    adapted_model,
    choosing_model,
    choosing_rows,
)
from tests.trainer.engine.program import new_model, rows_of_step
from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks

PROGRAM = Path(__file__).with_name("penalties_program.py")
WORLDS = pytest.mark.parametrize("world_size", [1, 2])

pytestmark = [pytest.mark.timeout(2 * RANKS_SECONDS), pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    return fork_ranks(PROGRAM, tmp_path_factory.mktemp("penalties-ranks"), (1, 2))


def gradients_of(model: Any) -> dict[str, list[float]]:
    return {name: one.grad.flatten().tolist() for name, one in model.named_parameters() if one.grad is not None}


def assert_alike(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert found.keys() == expected.keys()
    scale = max(abs(value) for values in expected.values() for value in values)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-4, abs=1e-5 * scale), name


@cache
def pulled_by_hand() -> tuple[float, dict[str, list[float]]]:
    """Return mean likelihood and the gradient of what is minimized, in float64, row by row; the base is a model of its own."""
    model, base = adapted_model().double().eval(), new_model().double().eval()
    nll, objective, units = 0.0, torch.zeros((), dtype=torch.float64), 0
    for row in rows_of_step(0):
        ids, learned = torch.tensor([list(row.input_ids)]), torch.tensor(list(row.loss_mask[1:]), dtype=torch.bool)
        logits, targets = model(ids).logits[0, :-1][learned], ids[0, 1:][learned]
        with torch.no_grad():
            of_base = base(ids).logits[0, :-1][learned]
        nll += float(cross_entropy(logits.detach(), targets, reduction="sum"))
        objective = objective + cross_entropy(logits, targets, reduction="sum", label_smoothing=SMOOTHING)
        objective = objective + BASE_KL * kl_divergence(Categorical(logits=of_base), Categorical(logits=logits)).sum()
        units += len(targets)
    (objective / units).backward()
    return nll / units, gradients_of(model)


@WORLDS
@pytest.mark.parametrize(("kind", "engine", "micro"), SPLITS, ids=str)
def test_the_pull_to_the_base_is_that_of_each_row_alone(results, world_size: int, kind: str, engine: str, micro: int) -> None:
    loss, gradients = pulled_by_hand()
    found = results[world_size][f"base/{kind}/{engine}/{micro}"]

    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert_alike(found["gradients"], gradients)


@WORLDS
@pytest.mark.parametrize("engine", ENGINES)
def test_two_equal_passes_of_each_row_are_one(results, world_size: int, engine: str) -> None:
    model, loss, rows = choosing_model().eval(), torch.zeros(()), choosing_rows()
    for row in rows:
        loss = loss + cross_entropy(model(torch.tensor([list(row.read)])).logits, torch.tensor([row.targets[0]])) / len(rows)
    loss.backward()
    found = results[world_size][f"twice/{engine}"]

    assert found["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert_alike(found["gradients"], gradients_of(model))


@WORLDS
@pytest.mark.parametrize("engine", ENGINES)
def test_noise_is_the_same_in_every_engine_and_where_activations_are_recomputed(results, world_size: int, engine: str) -> None:
    found, expected = results[world_size][f"noise/{engine}/False"], results[world_size]["noise/ddp/False"]

    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert_alike(found["gradients"], expected["gradients"])
    assert_alike(results[world_size][f"noise/{engine}/True"]["gradients"], found["gradients"])
    without = results[world_size]["base/plain/ddp/1"]["loss"]
    assert abs(found["loss"] - without) > 1e-3 * without


@WORLDS
@pytest.mark.parametrize("engine", ENGINES)
def test_norms_do_not_decay_in_any_engine_and_matrices_do(results, world_size: int, engine: str) -> None:
    found = results[world_size][f"decay/{engine}"]

    assert len(found) > 10
    for name, share in found.items():
        assert share == pytest.approx(1.0 if "norm" in name else 1 - 0.1 * 0.5, rel=1e-5), name
