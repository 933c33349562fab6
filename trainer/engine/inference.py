"""A model on one rank, as far as computing with it goes: forward passes, and sums and gathers over ranks.

Evaluation and predictions need no more, so that they work during training, on all ranks, as well as without it, in one process.
Tests: tests/trainer/engine/test_inference.py, tests/trainer/engine/test_invariance.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from trainer.engine.patience import from_rank_0
from trainer.outputs import logits_of


class Inference(ABC):
    """One model on one rank."""

    model: nn.Module
    """The bare model, for names and for evaluation mode; call `forward` to compute."""
    device: torch.device
    rank: int
    world_size: int
    shards_parameters: bool = False
    """Whether a forward needs all ranks at once, because each holds only a part of every weight."""
    autocast: torch.dtype | None = None
    """The 16-bit type that the model computes in although its trained weights are held in float32; None where it computes in theirs."""

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Return the context in which `model` computes as `forward` does, for what calls it directly, such as generation."""
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)

    @abstractmethod
    def forward(self, **inputs: Any) -> Tensor:
        """Return what `logits_of` finds for keyword arguments of the model, such as logits (rows, positions, vocabulary)."""

    def whole(self) -> AbstractContextManager[None]:
        """Return the context of many forward passes without gradients, in which sharded weights are whole if there is memory.

        All ranks must enter it. Each forward still needs all ranks at once (`shards_parameters`), but exchanges no weights.
        """
        return nullcontext()

    @property
    def asynchronous(self) -> bool:
        """Whether the device goes on computing while the host does other things, so that reading a result waits for it."""
        return self.device.type != "cpu"

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """Return the sums over all ranks of a tensor on the device, without waiting for them; the tensor is overwritten."""
        if self.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def sums_over_ranks(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all ranks, in float64."""
        sums = self.sum_over_ranks(torch.tensor(values, dtype=torch.float64, device=self.device))
        return [float(value) for value in sums.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks in rank order, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank, however long rank 0 works before it gives it.

        Rank 0 does not wait for the others to read it, but its process must outlive that: after the last one call `wait_for_all`.
        """
        return value if self.world_size == 1 else from_rank_0(value, self.rank, self.world_size)

    def wait_for_all(self) -> None:
        """Return when every rank has called this. The backend's time limit applies, so ranks must come at about the same time."""
        self.sums_over_ranks([0.0])


class OneProcess(Inference):
    """A model that is only used, in this process alone, computing in the type of its weights."""

    rank, world_size = 0, 1

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = model.to(device).eval().requires_grad_(False), device

    def forward(self, **inputs: Any) -> Tensor:
        """Return the logits, without a graph."""
        with torch.no_grad():
            return logits_of(self.model(**inputs))
