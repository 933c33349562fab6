"""Weak directions, DoRA, partly frozen models and rates by layer are trained alike by every engine, and resumed bit for bit."""

from pathlib import Path

import pytest

from tests.trainer.engine.methods_program import ENGINES, METHODS, SMALL_STEPS, WHOLE, built
from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks

PROGRAM = Path(__file__).with_name("methods_program.py")
RUNS = [
    (world, engine, method) for world in (1, 2) for engine in ENGINES for method in METHODS if not (engine == "zero3" and method in WHOLE)
]

pytestmark = [pytest.mark.timeout(2 * RANKS_SECONDS), pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, dict]]:
    return fork_ranks(PROGRAM, tmp_path_factory.mktemp("methods"), (1, 2))


@pytest.mark.parametrize(("world_size", "engine", "method"), RUNS, ids=lambda value: str(value))
def test_every_engine_and_number_of_ranks_trains_the_same(results, world_size: int, engine: str, method: str) -> None:
    found, expected = results[world_size][f"{method}/{engine}"], results[1][f"{method}/ddp"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["norm"] == pytest.approx(expected["norm"], rel=1e-4)
    assert found["gradients"].keys() == expected["gradients"].keys()
    for name, values in expected["gradients"].items():
        scale = max(abs(value) for value in values)
        assert found["gradients"][name] == pytest.approx(values, rel=1e-4, abs=1e-4 * scale), name
    assert found["parameters"].keys() == expected["parameters"].keys()


@pytest.mark.parametrize(("world_size", "engine", "method"), RUNS, ids=lambda value: str(value))
def test_a_resumed_run_goes_on_bit_for_bit_and_leaves_what_is_not_trained(results, world_size: int, engine: str, method: str) -> None:
    found = results[world_size][f"{method}/{engine}"]
    assert found["exact"]
    assert found["kept"]
    assert found["names"] == sorted(name for name, parameter in built(method).named_parameters() if parameter.requires_grad)


@pytest.mark.parametrize("engine", ENGINES)
def test_rates_by_layer_move_lower_layers_less(results, engine: str) -> None:
    """Adam's first step moves each number by about the rate: the ratio of layers is the decay."""
    start = {name: parameter.detach().flatten().tolist() for name, parameter in built("decay").named_parameters()}
    found = results[2][f"decay/{engine}"]["parameters"]

    def moved(name: str) -> float:
        apart = sorted(abs(one - other) for one, other in zip(found[name], start[name], strict=True))
        return apart[len(apart) // 2]

    head, upper, lower = moved("lm_head.weight"), moved("model.layers.1.mlp.up_proj.weight"), moved("model.layers.0.mlp.up_proj.weight")
    assert upper / head == pytest.approx(0.5, rel=0.2)
    assert lower / head == pytest.approx(0.25, rel=0.2)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_head_beside_a_bfloat16_base_takes_steps_that_bfloat16_would_round_away(results, world_size: int, engine: str) -> None:
    """AdamW moves a number by about the rate in each step."""
    moved = results[world_size][f"small/{engine}"]["moved"]
    head = {name: value for name, value in moved.items() if "modules_to_save" in name and name.endswith("weight")}
    assert len(head) == 2
    assert all(0.5 * SMALL_STEPS < value <= 1.01 * SMALL_STEPS for value in head.values()), head
