"""Two ranks measure answers found in texts as one does, under DDP and where parameters are sharded."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks
from tests.trainer.rank.span_ranks import config, prepare
from tests.trainer.rank.test_results import run


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return fork_ranks(Path(__file__).with_name("span_ranks.py"), tmp_path_factory.mktemp("ranks"), [2])[2]


@pytest.mark.timeout(RANKS_SECONDS)
@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("stage", ["stage-None", "stage-3"])
def test_two_ranks_measure_what_one_does_of_rows_that_do_not_divide_evenly(tmp_path: Path, ranks: dict[str, Any], stage: str) -> None:
    folder = prepare(tmp_path)
    run(config(folder, training__maxSteps=6))
    alone, found = report_of(folder / "run"), ranks[stage]
    assert found["baseline"] == alone["baseline"]
    assert found["final"]["squadF1"]["value"] == pytest.approx(alone["final"]["squadF1"]["value"], abs=3)
