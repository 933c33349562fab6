"""The learning rate over a run."""

import pytest

from finetune.api.sections import Scheduler, Training
from trainer.training.schedule import learning_rate_at


def rates(scheduler: Scheduler, warmup_ratio: float, steps: int = 10) -> list[float]:
    training = Training(max_steps=steps, learning_rate=1.0, scheduler=scheduler, warmup_ratio=warmup_ratio)
    return [learning_rate_at(step, steps, training) for step in range(steps)]


@pytest.mark.parametrize("scheduler", list(Scheduler))
def test_warm_up_rises_linearly_and_never_starts_at_zero(scheduler: Scheduler) -> None:
    assert rates(scheduler, 0.3)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_cosine_is_at_half_in_the_middle_and_falls_throughout() -> None:
    found = rates(Scheduler.COSINE, 0.0)
    assert found[5] == pytest.approx(0.5)
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 0.03


def test_linear_falls_by_equal_parts() -> None:
    assert rates(Scheduler.LINEAR, 0.0) == pytest.approx([1 - step / 10 for step in range(10)])


def test_constant_stays_at_the_peak() -> None:
    assert set(rates(Scheduler.CONSTANT, 0.0)) == {1.0}
