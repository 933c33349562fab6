"""The interface that the loop trains through, and what every engine shares: sums and gathers over ranks.

An engine sums gradients over micro-batches and averages them over ranks; the loop therefore passes
`loss_sum * world_size / tokens_of_the_global_batch`, whose gradient is that of the mean over the whole global batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from trainer.engine.optimizer import Optimizer
from trainer.engine.patience import from_rank_0
from trainer.engine.state import EngineState, StatePart, StateSource


@dataclass(frozen=True)
class EngineSettings:
    """What an engine must know of a step besides its rows and its learning rate."""

    optimizer: Optimizer
    gradient_clipping: float
    """Largest norm of the global gradient; 0 switches clipping off."""
    micro_batch_size: int
    micro_batches_per_step: int


class Engine(ABC):
    """One model under training on one rank."""

    optimizer: Optimizer
    model: nn.Module
    """The bare model, for names and for evaluation mode; call `forward` to compute."""
    device: torch.device
    rank: int
    world_size: int
    shards_parameters: bool = False
    """Whether a forward needs all ranks at once, because each holds only a part of every weight."""
    shards_state: bool = False
    """Whether each rank holds only a part of the training state, so that a large one is saved in parts (`part`)."""
    autocast: bool = False
    """Whether the model computes in bfloat16 although its trained weights are held in float32."""

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Return the context in which `model` computes as `forward` does, for what calls it directly, such as generation."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    @abstractmethod
    def forward(self, **inputs: Any) -> Tensor:
        """Return logits of shape (rows, positions, vocabulary) for keyword arguments of the model."""

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Return the context in which one micro-batch's forward and backward run; engines that must know `last` early use it."""
        return nullcontext()

    @abstractmethod
    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of a scalar loss; `last` marks the last micro-batch of the step, when ranks are averaged."""

    @abstractmethod
    def step(self, learning_rate: float) -> Tensor:
        """Clip, update the weights, clear the gradient; return the gradient's norm before clipping, a scalar that is still computed."""

    @abstractmethod
    def state(self) -> EngineState:
        """Return the whole training state (on rank 0), for which rank 0 needs memory. All ranks must call it."""

    def part(self) -> StatePart:
        """Return this rank's part of the training state, without a copy of it. For engines that shard it."""
        raise NotImplementedError

    @abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """Return the trainable parameters alone, as `state` does but without a copy where they lie on the CPU in float32 already.

        All ranks must call it. They may change as soon as training goes on.
        """

    @abstractmethod
    def load_state(self, state: StateSource, steps_done: int) -> None:
        """Take over a whole training state; a rank reads only what it holds. `steps_done` restores the optimizer's counters.

        All ranks must call it. Raises KeyError when the names of parameters or slots differ.
        """

    @abstractmethod
    def load_parameters(self, state: StateSource) -> None:
        """Take over the trained parameters alone, for a model that is trained no further. All ranks must call it.

        Raises KeyError when the names of parameters differ.
        """

    @abstractmethod
    def full_gradients(self) -> dict[str, Tensor]:
        """Return gradients averaged over ranks by name, after the last backward and before step; for tests of invariance."""

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

    def sums_aside(self) -> Callable[[Sequence[float]], list[float]]:
        """Return `sums_over_ranks` for another thread: on the CPU, over a process group of its own. All ranks must call it."""
        if self.world_size == 1:
            return list
        group: Any = torch.distributed.new_group(backend="gloo")

        def sums(values: Sequence[float]) -> list[float]:
            tensor = torch.tensor(values, dtype=torch.float64)
            torch.distributed.all_reduce(tensor, group=group)
            return [float(value) for value in tensor.tolist()]

        return sums

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

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of everything that is trained, in the model's order (the same on every rank)."""
        return ((name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad)
