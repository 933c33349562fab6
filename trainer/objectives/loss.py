"""Cross-entropy over tokens, as sums, for every objective that predicts tokens.

A mean per micro-batch would weight a token by its neighbors: the same batch, split differently, would give another gradient.
Test: tests/trainer/objectives/test_loss.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.objectives.base import LossSums, Tensors
from trainer.objectives.penalties import NO_PENALTIES, Penalties, divergence_of_vocabularies

CHUNK_POSITIONS = 16
"""Positions whose log-probabilities are computed at once: enough to keep a processor busy, 10 MB for a vocabulary of 152,000."""


@dataclass(frozen=True)
class TokenBatch(Tensors):
    """Samples of which some tokens are predicted, and where."""

    targets: Tensor
    """(units,); the tokens with loss."""
    places: Tensor
    """(units,); where the logits of each are in the flattened (rows, positions). Known before a GPU is: to find them there would wait
    for it."""
    units_each: tuple[int, ...]
    """How many of these tokens each sample has, in order."""
    tokens: int
    """Number of tokens that the model reads, excluding padding."""

    @property
    def units(self) -> int:
        """Number of tokens with loss."""
        return len(self.targets)


def chosen_logits(logits: Tensor, places: Tensor) -> Tensor:
    """Return those of `logits` (rows, positions, vocabulary) at `places`, indices of the flattened (rows, positions)."""
    return logits.flatten(0, 1).index_select(0, places)


def loss_sums(logits: Tensor, places: Tensor, targets: Tensor, penalties: Penalties = NO_PENALTIES, base: Tensor | None = None) -> LossSums:
    """Return the loss sums of one micro-batch.

    `logits` (rows, positions, vocabulary) score the tokens in `targets` (units,) at `places` (units,), indices of the flattened
    (rows, positions); other positions are ignored. With smoothing e the target distribution is (1 - e) on the target plus e spread
    evenly over the vocabulary (Szegedy et al. 2016, arXiv:1512.00567, eq. in section 7). `base` (units, vocabulary) are the base
    model's logits, where the tuned model is to stay near them.
    """
    log_probabilities = functional.log_softmax(chosen_logits(logits, places).float(), dim=-1)
    target_log_probabilities = log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    nll = -target_log_probabilities.sum()
    objective, smoothing = nll, penalties.label_smoothing
    if smoothing:
        objective = (1 - smoothing) * nll - smoothing * log_probabilities.mean(dim=-1).sum()
    if base is not None:
        objective = objective + penalties.base_kl_weight * divergence_of_vocabularies(base, log_probabilities)
    return LossSums(objective=objective, nll=nll.detach())


def nll_of_units(logits: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of each loss token, in nats, for figures: (units,), float64; arguments as in `loss_sums`.

    Computed a few positions at a time, so that no second copy of the logits exists.
    """
    scores = logits.flatten(0, 1)
    found = torch.zeros(len(places), dtype=torch.float64, device=logits.device)
    for start in range(0, len(places), CHUNK_POSITIONS):
        chunk = slice(start, start + CHUNK_POSITIONS)
        found[chunk] = functional.cross_entropy(scores.index_select(0, places[chunk]).float(), targets[chunk], reduction="none").double()
    return found


def sums_each(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the sums of the first counts[0] values, of the next counts[1], and so on: (len(counts),), float64, on the CPU."""
    owners = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return torch.zeros(len(counts), dtype=torch.float64).index_add_(0, owners, values.double().cpu())
