"""Cross-entropy over tokens, as sums, for every objective that predicts tokens.

A mean per micro-batch would weight a token by its neighbors: the same batch, split differently, would give another gradient.
Test: tests/trainer/objectives/test_loss.py, tests/trainer/engine/test_invariance.py.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.objectives.base import LossSums

CHUNK_POSITIONS = 16
"""Positions whose log-probabilities are computed at once: enough to keep a processor busy, 10 MB for a vocabulary of 152,000."""


def loss_sums(logits: Tensor, places: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> LossSums:
    """Return the loss sums of one micro-batch.

    `logits` (rows, positions, vocabulary) score the tokens in `targets` (units,) at `places` (units,), indices of the flattened
    (rows, positions); other positions are ignored. With smoothing e the target distribution is (1 - e) on the target plus e spread
    evenly over the vocabulary (Szegedy et al. 2016, arXiv:1512.00567, eq. in section 7).
    """
    chosen = logits.flatten(0, 1).index_select(0, places).float()
    log_probabilities = functional.log_softmax(chosen, dim=-1)
    target_log_probabilities = log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    nll = -target_log_probabilities.sum()
    if label_smoothing == 0.0:
        return LossSums(objective=nll, nll=nll.detach())
    uniform = -log_probabilities.mean(dim=-1).sum()
    return LossSums(objective=(1 - label_smoothing) * nll + label_smoothing * uniform, nll=nll.detach())


def nll_sum(logits: Tensor, places: Tensor, targets: Tensor) -> float:
    """Return the negative log-likelihood of the loss tokens, in nats, for figures; arguments as in `loss_sums`.

    Computed a few positions at a time, so that no second copy of the logits exists.
    """
    scores = logits.flatten(0, 1)
    total = torch.zeros((), dtype=torch.float64, device=logits.device)
    for start in range(0, len(places), CHUNK_POSITIONS):
        chunk = slice(start, start + CHUNK_POSITIONS)
        total += functional.cross_entropy(scores.index_select(0, places[chunk]).float(), targets[chunk], reduction="sum")
    return float(total)
