"""What the training loop and the evaluator ask of an objective, so that neither knows what kind of model is trained.

An objective returns sums over the units of a batch (tokens with loss, for a language model), never means: the loop divides
once, by the units of the whole global batch. Test: tests/trainer/objectives/test_causal.py.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from trainer.data.rows import Sample
from trainer.objectives.family import Family


@dataclass(frozen=True)
class LossSums:
    """Sums over the units of one batch, in nats."""

    objective: Tensor
    """What is minimized: negative log-likelihood, smoothed if asked for. Scalar with a graph."""
    nll: Tensor
    """Negative log-likelihood without smoothing, for figures. Scalar without a graph."""


class Batch(Protocol):
    """The tensors of a few samples."""

    @property
    def units(self) -> int:
        """Number of what the loss is summed over."""

    @property
    def tokens(self) -> int:
        """Number of tokens that the model reads, without padding."""

    def to(self, device: torch.device) -> Self:
        """Return the batch on `device`."""


@dataclass(frozen=True)
class Forward:
    """A model's forward pass, and the keyword arguments that it takes."""

    compute: Callable[..., Tensor]
    """Returns logits for keyword arguments of the model."""
    arguments: frozenset[str]

    @classmethod
    def of(cls, model: Any, compute: Callable[..., Tensor]) -> "Forward":
        """Return the forward pass of `model`, which may have adapters; `compute` is its engine's."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        return cls(compute, frozenset(inspect.signature(base.forward).parameters))


B = TypeVar("B", bound=Batch)


class Objective(Protocol[B]):
    """One way to train a family of models on samples. Has no state: the same value serves every rank and every step."""

    @property
    def family(self) -> Family:
        """The kind of model that it trains."""

    def collate(self, samples: Sequence[Sample]) -> B:
        """Return the tensors of at least one sample."""

    def loss(self, forward: Forward, batch: B, label_smoothing: float = 0.0) -> LossSums:
        """Return the sums that one batch adds to the loss of its global batch."""

    def nll(self, forward: Forward, batch: B) -> float:
        """Return the negative log-likelihood of a batch in nats, without a graph and with little memory, for figures."""
