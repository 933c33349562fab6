"""Loss sums against an independent computation in float64."""

import math

import pytest
import torch

from trainer.objectives.loss import loss_sums
from trainer.objectives.penalties import Penalties


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((2, 3, 7), generator=generator), torch.tensor([0, 2, 5]), torch.tensor([1, 3, 6])


def expected_sum(smoothing: float) -> float:
    logits, places, targets = batch()
    total = 0.0
    for place, target in zip(places.tolist(), targets.tolist(), strict=True):
        scores = logits[place // 3, place % 3].double().tolist()
        normalizer = math.log(sum(math.exp(score) for score in scores))
        for token, score in enumerate(scores):
            weight = smoothing / 7 + (1 - smoothing if token == target else 0.0)
            total += weight * (normalizer - score)
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_objective_is_the_smoothed_cross_entropy_summed_over_loss_tokens(smoothing: float) -> None:
    assert loss_sums(*batch(), Penalties(smoothing)).objective.item() == pytest.approx(expected_sum(smoothing), rel=1e-5)


def test_the_reported_likelihood_is_not_smoothed() -> None:
    assert float(loss_sums(*batch(), Penalties(0.5)).nll) == pytest.approx(expected_sum(0.0), rel=1e-5)


def test_a_batch_without_loss_tokens_has_a_zero_loss_that_can_be_differentiated() -> None:
    logits = torch.randn((1, 2, 5), requires_grad=True)
    sums = loss_sums(logits, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    sums.objective.backward()
    assert sums.objective.item() == 0.0
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) == 0.0
