"""Full fine-tuning with a sharded state, from the first step to the export: checkpoints in parts, from which a resume continues exactly."""

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks
from tests.trainer.rank.full_ranks import STEPS, STOP_AT

pytestmark = [pytest.mark.timeout(RANKS_SECONDS), pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return fork_ranks(Path(__file__).with_name("full_ranks.py"), tmp_path_factory.mktemp("full"), [2])[2]


def test_a_stopped_run_ends_with_the_weights_of_an_unbroken_one(results: dict[str, Any]) -> None:
    assert STOP_AT <= results["resumed"]["broken"] < STEPS
    assert results["resumed"]["unbroken"] == 0
    assert results["apart"]["broken"] == 0


def test_a_stopped_run_goes_on_under_another_stage(results: dict[str, Any]) -> None:
    assert STOP_AT <= results["resumed"]["moved"] < STEPS
    assert results["apart"]["moved"] < 1e-4


def test_each_rank_has_written_its_part(results: dict[str, Any]) -> None:
    assert results["files"] == ["parameters-1-of-2.safetensors", "parameters-2-of-2.safetensors"]
