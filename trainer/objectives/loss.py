"""The loss: sums over loss-bearing tokens, so that a mean is taken once, over the whole global batch.

A mean per micro-batch would weigh a token by its neighbours: the same batch split otherwise would give another gradient.
Test: tests/trainer/objectives/test_loss.py, tests/trainer/engine/test_invariance.py.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

CHUNK_POSITIONS = 16
"""Positions whose log-probabilities are computed at once: enough to keep a processor busy, 10 MB at a vocabulary of 152,000."""


@dataclass(frozen=True)
class LossSums:
    """Sums over the loss-bearing tokens of one micro-batch, in nats."""

    objective: Tensor
    """What is minimized: negative log-likelihood, smoothed if asked for. Scalar with a graph."""
    nll: Tensor
    """Negative log-likelihood without smoothing, for figures. Scalar without a graph."""


def loss_sums(logits: Tensor, targets: Tensor, bears_loss: Tensor, label_smoothing: float = 0.0) -> LossSums:
    """Return the loss sums of one micro-batch.

    `logits` (rows, positions, vocabulary) at each position score the token in `targets` (rows, positions) at the same
    index; positions where `bears_loss` (rows, positions) is False count nothing. With smoothing e the target distribution
    is (1 - e) on the target plus e spread evenly over the vocabulary (Szegedy et al. 2016, arXiv:1512.00567, eq. in section 7).
    """
    chosen = logits[bears_loss].float()
    wanted = targets[bears_loss]
    log_probabilities = functional.log_softmax(chosen, dim=-1)
    target_log_probabilities = log_probabilities.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
    nll = -target_log_probabilities.sum()
    if label_smoothing == 0.0:
        return LossSums(objective=nll, nll=nll.detach())
    uniform = -log_probabilities.mean(dim=-1).sum()
    return LossSums(objective=(1 - label_smoothing) * nll + label_smoothing * uniform, nll=nll.detach())


def nll_sum(logits: Tensor, targets: Tensor, bears_loss: Tensor) -> float:
    """Return the negative log-likelihood of the loss-bearing tokens, in nats, for figures: arguments as in `loss_sums`.

    Taken a few positions at a time, so that no second copy of the logits exists.
    """
    rows, positions = bears_loss.nonzero(as_tuple=True)
    total = torch.zeros((), dtype=torch.float64, device=logits.device)
    for start in range(0, len(rows), CHUNK_POSITIONS):
        chunk = rows[start : start + CHUNK_POSITIONS], positions[start : start + CHUNK_POSITIONS]
        total += functional.cross_entropy(logits[chunk].float(), targets[chunk], reduction="sum")
    return float(total)
