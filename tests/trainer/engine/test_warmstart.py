"""Two ranks train an encoder-decoder with a part that nothing is computed with, as one does."""

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.engine.ranks import RANKS_SECONDS, run_ranks
from tests.trainer.engine.warmstart_program import ENGINES, METHODS, STEPS

pytestmark = [pytest.mark.timeout(2 * RANKS_SECONDS), pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    folder, program = tmp_path_factory.mktemp("warm-start"), str(Path(__file__).with_name("warmstart_program.py"))
    return {world: run_ranks(world, folder / f"{world}.json", program) for world in (1, 2)}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_learn_as_one_does(losses: dict[int, dict[str, Any]], method: str, engine: str) -> None:
    alone, together = (losses[world][f"{method}/{engine}"] for world in (1, 2))
    assert len(alone) == STEPS
    assert together == pytest.approx(alone, rel=1e-3)
