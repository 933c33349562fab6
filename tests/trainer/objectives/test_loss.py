"""Loss sums against an independent computation in float64."""

import math

import pytest
import torch

from trainer.objectives.loss import loss_sums


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((2, 3, 7), generator=generator)
    return logits, torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[True, False, True], [False, False, True]])


def expected_sum(smoothing: float) -> float:
    logits, targets, loss_mask = batch()
    total = 0.0
    for row in range(2):
        for position in range(3):
            if loss_mask[row, position]:
                scores = logits[row, position].double().tolist()
                normalizer = math.log(sum(math.exp(score) for score in scores))
                for token, score in enumerate(scores):
                    weight = smoothing / 7 + (1 - smoothing if token == int(targets[row, position]) else 0.0)
                    total += weight * (normalizer - score)
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_objective_is_the_smoothed_cross_entropy_summed_over_loss_tokens(smoothing: float) -> None:
    assert loss_sums(*batch(), smoothing).objective.item() == pytest.approx(expected_sum(smoothing), rel=1e-5)


def test_the_reported_likelihood_is_not_smoothed() -> None:
    assert float(loss_sums(*batch(), 0.5).nll) == pytest.approx(expected_sum(0.0), rel=1e-5)


def test_a_batch_without_loss_tokens_has_a_zero_loss_that_can_be_differentiated() -> None:
    logits = torch.randn((1, 2, 5), requires_grad=True)
    sums = loss_sums(logits, torch.zeros((1, 2), dtype=torch.long), torch.zeros((1, 2), dtype=torch.bool))
    sums.objective.backward()
    assert sums.objective.item() == 0.0
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) == 0.0
