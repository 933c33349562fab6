"""A state that ranks have saved in parts continues bit for bit, and is the same on any number of ranks, under any stage."""

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks
from tests.trainer.engine.state_parts import OFFLOADED, SHARDED

PROGRAM = Path(__file__).with_name("state_parts.py")

pytestmark = [pytest.mark.timeout(3 * RANKS_SECONDS), pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    return fork_ranks(PROGRAM, tmp_path_factory.mktemp("parts"), (2, 4, 1))


@pytest.mark.parametrize("engine", SHARDED)
def test_a_state_in_parts_continues_bit_for_bit(results: dict[int, dict[str, Any]], engine: str) -> None:
    assert results[2][engine] == {"reread": True, "equal": True}


@pytest.mark.parametrize("engine", SHARDED)
def test_parts_of_two_ranks_are_the_same_state_on_four_of_another_stage_and_then_on_one(results: dict[int, Any], engine: str) -> None:
    assert (results[4][engine], results[1][engine]) == ({"state": True}, {"ddp": True})


@pytest.mark.parametrize("engine", OFFLOADED)
def test_an_engine_that_offloads_trains_as_one_that_does_not_and_resumes_bit_for_bit(results: dict[int, Any], engine: str) -> None:
    found = results[2][engine]
    assert found.pop("apart") < 1e-5
    assert found == {"reread": True, "equal": True}
