"""The learning rate over a run."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from transformers import get_scheduler, get_wsd_schedule

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


def test_warmup_stable_decay_stays_at_the_peak_and_falls_over_the_last_fifth() -> None:
    assert rates(Scheduler.WARMUP_STABLE_DECAY, 0.1) == pytest.approx([0.5, *[1.0] * 8, 0.5])


@pytest.mark.parametrize("total", [1, 7, 100])
@pytest.mark.parametrize("ratio", [0.05, 0.5, 1.0])
def test_the_decay_of_a_run_of_any_length_reaches_neither_zero_nor_more_than_the_peak(total: int, ratio: float) -> None:
    training = Training(max_steps=total, learning_rate=0.3, scheduler=Scheduler.WARMUP_STABLE_DECAY, warmup_ratio=0, decay_ratio=ratio)
    found = [learning_rate_at(step, total, training) for step in range(total)]
    assert found[0] == 0.3
    assert all(0 < after <= before for before, after in pairwise([0.3, *found]))


def reference(scheduler: Scheduler, warmup: int, decay: int, total: int) -> list[float]:
    """Return the rates of transformers' own schedule at its steps 0 to `total` - 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    options = {"num_warmup_steps": warmup, "num_training_steps": total}
    made = {
        Scheduler.COSINE: lambda: get_scheduler("cosine", optimizer, **options),
        Scheduler.LINEAR: lambda: get_scheduler("linear", optimizer, **options),
        Scheduler.CONSTANT: lambda: get_scheduler("constant_with_warmup", optimizer, **options),
        Scheduler.WARMUP_STABLE_DECAY: lambda: get_wsd_schedule(optimizer, num_decay_steps=decay, decay_type="linear", **options),
    }
    schedule, found = made[scheduler](), []
    for _ in range(total):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("scheduler", list(Scheduler))
@pytest.mark.parametrize(("warmup", "decay", "total"), [(0, 10, 40), (6, 8, 40), (3, 5, 17)])
def test_each_schedule_is_the_one_of_transformers_after_warm_up_and_one_part_ahead_in_it(
    scheduler: Scheduler, warmup: int, decay: int, total: int
) -> None:
    ratio = decay / total if scheduler is Scheduler.WARMUP_STABLE_DECAY else None
    training = Training(max_steps=total, learning_rate=1.0, scheduler=scheduler, warmup_ratio=warmup / total, decay_ratio=ratio)
    found, expected = [learning_rate_at(step, total, training) for step in range(total)], reference(scheduler, warmup, decay, total)
    assert found[warmup:] == pytest.approx(expected[warmup:], abs=1e-12)
    assert found[:warmup] == pytest.approx([(step + 1) / (warmup + 1) for step in range(warmup)])
    assert expected[:warmup] == pytest.approx([step / max(1, warmup) for step in range(warmup)])
