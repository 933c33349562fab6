"""What training minimizes besides the negative log-likelihood: label smoothing, and divergences between predictions.

Figures never hold it, so that the losses of runs with and without it compare. Sums over units, as those of LossSums.
Test: tests/trainer/objectives/test_penalties.py.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

CHUNK_UNITS = 16
"""Units whose divergence is computed at once: 10 MB for a vocabulary of 152,000."""


@dataclass(frozen=True)
class Penalties:
    """The job's regularization, as far as it is part of the loss."""

    label_smoothing: float = 0.0
    r_drop_alpha: float = 0.0
    """Of objectives that choose one of a few things; see `both_ways`."""
    base_kl_weight: float = 0.0
    as_base: Callable[[], AbstractContextManager[None]] = nullcontext
    """The context in which a forward pass is that of the base model, without dropout and without a graph."""

    def of_base(self, compute: Callable[[], Tensor]) -> Tensor | None:
        """Return what `compute` returns of the base model; None where nothing is compared with it."""
        if self.base_kl_weight == 0:
            return None
        with self.as_base():
            return compute()


NO_PENALTIES = Penalties()


def both_ways(divergence: Callable[[Tensor, Tensor], Tensor], scores: Tensor) -> Tensor:
    """Return half the sum of both divergences of two predictions, the halves of `scores` (Wu et al. 2021, arXiv:2106.14448, eq. 2)."""
    one, other = scores.chunk(2)
    return (divergence(one, other) + divergence(other, one)) / 2


def divergence_of_classes(scores: Tensor, other: Tensor) -> Tensor:
    """Return the sum over rows of KL(p || q), p and q the softmax of both scores, (rows, classes)."""
    own, others = functional.log_softmax(scores, dim=-1), functional.log_softmax(other, dim=-1)
    return functional.kl_div(others, own, reduction="sum", log_target=True)


def divergence_of_labels(scores: Tensor, other: Tensor) -> Tensor:
    """Return the sum over rows and labels of KL(p || q), p and q the probabilities that a label applies; scores are their logits."""
    yes = scores.sigmoid() * (functional.logsigmoid(scores) - functional.logsigmoid(other))
    no = (-scores).sigmoid() * (functional.logsigmoid(-scores) - functional.logsigmoid(-other))
    return (yes + no).sum()


def divergence_of_vocabularies(base: Tensor, log_probabilities: Tensor) -> Tensor:
    """Return the sum over units of KL(base || tuned), with a graph for the tuned model's `log_probabilities` (units, vocabulary).

    `base` are logits of the same shape, in any type, without a graph. Only they are kept for the backward pass.
    """
    found: Tensor = ChunkedDivergence.apply(log_probabilities, base)
    return found


class ChunkedDivergence(torch.autograd.Function):
    """Divergence of `divergence_of_vocabularies`, a few units at a time."""

    @staticmethod
    def forward(ctx: Any, log_probabilities: Tensor, base: Tensor) -> Tensor:
        """Return the sum, in float32."""
        ctx.save_for_backward(base)
        ctx.dtype = log_probabilities.dtype
        total = torch.zeros((), dtype=torch.float64, device=base.device)
        for chunk in _chunks(len(base)):
            own = functional.log_softmax(base[chunk].float(), dim=-1)
            total += (own.exp() * (own - log_probabilities[chunk])).sum()
        return total.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return minus the base model's probabilities, scaled."""
        (base,) = ctx.saved_tensors
        found = torch.empty(base.shape, dtype=ctx.dtype, device=base.device)
        for chunk in _chunks(len(base)):
            found[chunk] = functional.softmax(base[chunk].float(), dim=-1).mul_(-gradient)
        return found, None


def _chunks(units: int) -> list[slice]:
    return [slice(start, start + CHUNK_UNITS) for start in range(0, units, CHUNK_UNITS)]
