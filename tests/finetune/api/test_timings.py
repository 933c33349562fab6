"""When a command began, as it tells its programs, and the stages in the report."""

import pytest

from finetune.api.timings import STARTED_VARIABLE, StageTiming, TimedStage, Timings, started_by


@pytest.mark.parametrize(
    ("environment", "started"),
    [({STARTED_VARIABLE: "1700000000.25"}, 1700000000.25), ({}, 5.0), ({STARTED_VARIABLE: "yesterday"}, 5.0)],
)
def test_a_program_begins_with_its_command_or_else_by_itself(environment: dict[str, str], started: float) -> None:
    assert started_by(environment, otherwise=5.0) == started


def test_timings_are_camel_case_and_read_back() -> None:
    stage = StageTiming(stage=TimedStage.BASE, process="rank 0", start_seconds=3.5, seconds=2.0, cpu_seconds=4.0)
    timings = Timings(seconds=6.0, stages=[stage])
    wire = timings.to_wire()
    assert wire["stages"] == [
        {"stage": "base model", "process": "rank 0", "startSeconds": 3.5, "seconds": 2.0, "cpuSeconds": 4.0, "times": 1, "beside": False}
    ]
    assert Timings.model_validate(wire) == timings
