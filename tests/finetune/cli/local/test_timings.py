"""The budget of a run on the screen."""

from typing import Any

import pytest

from finetune.api.timings import StageTiming, TimedStage, Timings
from finetune.cli.local.timings import budget


def test_each_stage_has_a_line_and_the_whole_the_last_one() -> None:
    stages = [
        StageTiming(stage=TimedStage.START, process="driver", start_seconds=0, seconds=1.5, cpu_seconds=1.2),
        StageTiming(stage=TimedStage.RAY, process="driver", start_seconds=1.5, seconds=4, beside=True),
        StageTiming(stage=TimedStage.VALIDATION, process="rank 0", start_seconds=9, seconds=30.25, cpu_seconds=60, times=3),
    ]
    lines = budget({"timings": Timings(seconds=50, stages=stages).to_wire()}, whole_seconds=53.2)
    assert lines == [
        "  stage                             in         from s   took s  CPU s",
        "  start                             driver        0.0      1.5    1.2",
        "  Ray, beside others                driver        1.5      4.0",
        "  validation, 3 times               rank 0        9.0     30.2   60.0",
        "  after the report                               50.0      3.2",
        "  whole                                           0.0     53.2",
    ]


def test_of_a_run_that_another_command_finished_the_table_ends_with_the_report() -> None:
    stage = StageTiming(stage=TimedStage.START, process="driver", start_seconds=0, seconds=1.5, cpu_seconds=1.2)
    lines = budget({"timings": Timings(seconds=50, stages=[stage]).to_wire()})
    assert lines == [
        "  stage                             in         from s   took s  CPU s",
        "  start                             driver        0.0      1.5    1.2",
        "  until the report                                0.0     50.0",
    ]


@pytest.mark.parametrize("report", [None, {}, {"timings": None}, {"timings": {"seconds": "long"}}])
def test_a_run_without_timings_says_so(report: dict[str, Any] | None) -> None:
    assert budget(report, 3.0) == ["timings: none; a run has them once it has written its report"]
