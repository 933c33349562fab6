"""The interface of objectives, so that the training loop and the evaluator need not know the kind of model.

An objective returns sums over the units of a batch (tokens with loss, for a language model), never means: the loop divides
once, by the units of the whole global batch. Tests: tests/trainer/objectives/test_base.py, tests/trainer/objectives/test_causal.py.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from finetune.api.tasks import ModelFamily
from trainer.data.rows import Sample
from trainer.objectives.family import Family, decoder_start_of
from trainer.objectives.outputlayer import is_frozen, plain_output_layer
from trainer.objectives.penalties import NO_PENALTIES, Penalties


@dataclass(frozen=True)
class LossSums:
    """Sums over the units of one batch, in nats."""

    objective: Tensor
    """The quantity to minimize: negative log-likelihood, with the penalties of the job. Scalar with a graph."""
    nll: Tensor
    """Negative log-likelihood without penalties, for figures. Scalar without a graph."""


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on `device`; a GPU fetches it from pinned memory, so that the host need not wait for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass(frozen=True)
class Tensors:
    """Fields of which some are tensors, or mappings to tensors, or hold tensors in the same way."""

    def to(self, device: torch.device) -> Self:
        """Return the same with its tensors on `device`."""
        return replace(self, **{field.name: _moved(getattr(self, field.name), device) for field in fields(self)})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return on_device(value, device)
    if isinstance(value, Tensors):
        return value.to(device)
    return {name: _moved(one, device) for name, one in value.items()} if isinstance(value, Mapping) else value


class Batch(Protocol):
    """The tensors of a few samples."""

    @property
    def units(self) -> int:
        """Number of units that the loss is summed over, such as tokens with loss."""

    @property
    def tokens(self) -> int:
        """Number of tokens that the model reads, excluding padding."""

    def to(self, device: torch.device) -> Self:
        """Return the batch with its tensors on `device`."""


@dataclass(frozen=True)
class Forward:
    """A model's forward pass, and the keyword arguments that it accepts."""

    compute: Callable[..., Tensor]
    """Returns logits for keyword arguments of the model."""
    arguments: frozenset[str]
    output_layer: nn.Linear | None = None
    """The layer that the logits come out of, if an objective may compute them itself; see `plain_output_layer`."""
    decoder_start: int | None = None
    """The token that an encoder-decoder's answers begin after; None for other models."""

    @property
    def chunked_layer(self) -> nn.Linear | None:
        """The output layer where an objective trains with it, a few positions at a time, because it is frozen; None elsewhere."""
        return self.output_layer if self.output_layer is not None and is_frozen(self.output_layer) else None


def probed_forward(model: Any, compute: Callable[..., Tensor], family: Family) -> Forward:
    """Return the forward pass of `model`, which may have adapters; `compute` is the engine's forward.

    Runs a causal model twice on two tokens to find its output layer, so once a run is enough.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layer = plain_output_layer(model) if family.kind is ModelFamily.CAUSAL else None
    start = decoder_start_of(base.config) if family.kind is ModelFamily.SEQ2SEQ else None
    return Forward(compute, arguments_of(model), layer, start)


def arguments_of(model: Any) -> frozenset[str]:
    """Return the keyword arguments that a model's forward pass accepts; the model may have adapters."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(base.forward).parameters)


B = TypeVar("B", bound=Batch)


class Objective(Protocol[B]):
    """One way to train a family of models on samples. Stateless: one instance serves all steps."""

    @property
    def family(self) -> Family:
        """The kind of model that this objective trains."""

    def redrawn(self, sample: Sample, epoch: int, seed: int) -> Sample:
        """Return a training row as it is in an epoch, with as many units: an objective may choose its targets at random."""

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> B:
        """Make a batch of `samples`, at least one: padded to one length, or packed into one row, if the model can read that."""

    def loss(self, forward: Forward, batch: B, penalties: Penalties = NO_PENALTIES) -> LossSums:
        """Return the sums that one batch contributes to the loss of its global batch."""

    def nll(self, forward: Forward, batch: B) -> Tensor:
        """Return the negative log-likelihood of each sample in nats, in the order of `collate`: (samples,), float64, on the CPU.

        For figures: without a graph, with little memory. A sample's value depends on no other in its batch.
        """


class FixedTargets:
    """An objective whose rows have the same targets in every epoch."""

    def redrawn(self, sample: Sample, epoch: int, seed: int) -> Sample:
        """Return the sample as it is."""
        return sample
