"""What a step leaves on the device is read once, as numbers of the host; a step that diverged says which one it was."""

import math

import pytest
import torch

from trainer.training.figures import LaunchedStep, TrainingDivergedError


def launched(nll: float, asked_to_stop: float, gradient_norm: float, units: int = 4) -> LaunchedStep:
    sums = torch.tensor([nll, asked_to_stop], dtype=torch.float64)
    return LaunchedStep(7, 900, 1e-3, units, sums, torch.tensor(gradient_norm))


def test_the_loss_is_a_mean_over_all_units_and_one_rank_that_is_asked_stops_all() -> None:
    assert launched(10.0, 0.0, 0.5).read() == (2.5, 0.5, False)
    assert launched(10.0, 1.0, 0.5).read() == (2.5, 0.5, True)


def test_a_step_without_a_token_that_has_loss_has_loss_0() -> None:
    assert launched(0.0, 0.0, 0.0, units=0).read() == (0.0, 0.0, False)


def test_what_is_done_with_the_device_s_tensors_afterwards_changes_no_figure() -> None:
    sums, gradient_norm = torch.tensor([8.0, 0.0], dtype=torch.float64), torch.tensor(0.5)
    step = LaunchedStep(7, 900, 1e-3, 4, sums, gradient_norm)
    sums.fill_(-1.0)
    gradient_norm.fill_(-1.0)
    assert step.read() == (2.0, 0.5, False)


@pytest.mark.parametrize(("nll", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_step_that_diverged_is_named(nll: float, norm: float) -> None:
    with pytest.raises(TrainingDivergedError, match=r"^step 7: loss .*, gradient norm .*; lower training\.learningRate$"):
        launched(nll, 0.0, norm).read()
