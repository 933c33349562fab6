"""Stages that follow each other, interrupt each other, run beside each other, and go on in another program."""

import pickle

import pytest

from finetune.api.timings import StageTiming, TimedStage
from trainer.reporting.stageclock import StageClock


class Time:
    """A clock, and processor time that passes twice as fast."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall(self) -> float:
        return self.now

    def cpu(self) -> float:
        return (self.now - 101.0) * 2


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def clock(time: Time) -> StageClock:
    """A clock of a program that was started a second after its command."""
    clock = StageClock("driver", 100.0, wall=time.wall, cpu=time.cpu)
    time.now += 3
    return clock


def seen(clock: StageClock) -> list[tuple[str, float, float, float | None, int]]:
    return [(one.stage.value, one.start_seconds, one.seconds, one.cpu_seconds, one.times) for one in clock.timings().stages]


def test_stages_follow_each_other_from_the_start_of_the_command_on(clock: StageClock, time: Time) -> None:
    clock.begin(TimedStage.ROWS)
    time.now += 2
    clock.begin(TimedStage.MODEL)
    time.now += 1
    assert seen(clock) == [("start", 0, 3, 4, 1), ("rows", 3, 2, 4, 1), ("model", 5, 1, 2, 1)]
    assert clock.timings().seconds == 6


def test_a_stage_within_another_is_not_counted_twice(clock: StageClock, time: Time) -> None:
    clock.begin(TimedStage.TRAINING)
    for _ in range(2):
        time.now += 4
        with clock.within(TimedStage.VALIDATION):
            time.now += 1
    time.now += 2
    assert seen(clock)[1:] == [("training", 3, 10, 20, 1), ("validation", 7, 2, 4, 2)]


def test_the_stage_that_an_error_ends_is_left(clock: StageClock, time: Time) -> None:
    clock.begin(TimedStage.TRAINING)
    time.now += 1
    with pytest.raises(ZeroDivisionError), clock.within(TimedStage.CHECKPOINTS):
        raise ZeroDivisionError
    time.now += 1
    assert seen(clock)[1:] == [("training", 3, 2, 4, 1), ("checkpoints", 4, 0, 0, 1)]


def test_a_stage_that_is_begun_again_adds_to_what_it_has(clock: StageClock, time: Time) -> None:
    for stage in (TimedStage.MODEL, TimedStage.DOCTOR, TimedStage.MODEL, TimedStage.MODEL):
        clock.begin(stage)
        time.now += 1
    assert seen(clock)[1:] == [("model", 3, 3, 6, 2), ("doctor", 4, 1, 2, 1)]


def test_what_runs_beside_the_others_says_so_and_has_no_processor_time(clock: StageClock, time: Time) -> None:
    clock.begin(TimedStage.ROWS)
    with clock.beside(TimedStage.RAY):
        time.now += 1
        clock.begin(TimedStage.MODEL)
        time.now += 1
    start, rows, ray, model = clock.timings().stages
    assert ray == StageTiming(stage=TimedStage.RAY, process="driver", start_seconds=3, seconds=2, beside=True)
    assert [start.seconds, rows.seconds, model.seconds] == [3, 1, 1]


def test_another_program_goes_on_with_the_present_stage_and_its_own_processor_time() -> None:
    clock = StageClock("driver", 0.0, wall=float, cpu=float)
    clock.begin(TimedStage.WORKERS)
    rank = pickle.loads(pickle.dumps(clock.passed_on("rank 0")))
    rank.begin(TimedStage.LOAD)
    clock.begin(TimedStage.EXPORT)
    assert [(one.stage.value, one.process) for one in rank.timings().stages] == [
        ("start", "driver"), ("workers", "rank 0"), ("load", "rank 0"),
    ]  # fmt: skip


def test_the_rank_in_the_same_program_counts_the_processor_time_since_its_stage_began(clock: StageClock, time: Time) -> None:
    clock.begin(TimedStage.LOAD)
    rank = clock.passed_on_here("rank 0")
    time.now += 1
    rank.begin(TimedStage.LOAD)
    time.now += 1
    assert seen(rank)[1:] == [("load", 3, 2, 4, 1)]


def test_a_clock_that_is_set_back_gives_no_negative_times(clock: StageClock, time: Time) -> None:
    clock.begin(TimedStage.ROWS)
    time.now -= 50
    assert seen(clock)[1:] == [("rows", 3, 0, 0, 1)]
