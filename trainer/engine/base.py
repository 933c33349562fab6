"""The interface that the loop trains through: what a model under training has besides what `Inference` has.

An engine sums gradients over micro-batches and averages them over ranks; the loop therefore passes
`loss_sum * world_size / tokens_of_the_global_batch`, whose gradient is that of the mean over the whole global batch.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.engine.aside import RanksAside
from trainer.engine.inference import Inference
from trainer.engine.lossscale import LossScale
from trainer.engine.optimizer import Optimizer
from trainer.engine.state import EngineState, Keep, StatePart, StateSource, cloned


@dataclass(frozen=True)
class EngineSettings:
    """What an engine must know of a step besides its rows and its learning rate."""

    optimizer: Optimizer
    gradient_clipping: float
    """Largest norm of the global gradient; 0 switches clipping off."""
    micro_batch_size: int
    micro_batches_per_step: int


class Engine(Inference):
    """One model under training on one rank."""

    optimizer: Optimizer
    shards_state: bool = False
    """Whether each rank holds only a part of the training state, so that a large one is saved in parts (`part`)."""
    clipping: float
    """Largest norm of the global gradient; 0 switches clipping off."""
    loss_scale: LossScale | None = None
    """Under float16; other arithmetic needs none."""

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Return the context in which one micro-batch's forward and backward run; engines that must know `last` early use it."""
        return nullcontext()

    @abstractmethod
    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of a scalar loss; `last` marks the last micro-batch of the step, when ranks are averaged."""

    @abstractmethod
    def step(self, learning_rate: float) -> Tensor | None:
        """Clip, update the weights, clear the gradient; return the gradient's norm before clipping, a scalar that is still computed.

        Return None, on all ranks, where the gradient overflowed float16: the weights are as before, the gradient is cleared, the loss
        scale is halved, and the step should be computed again.
        """

    @abstractmethod
    def state(self, keep: Keep = cloned) -> EngineState:
        """Return the whole training state (on rank 0), with what `keep` returns for each tensor. All ranks must call it."""

    def state_elements(self) -> int:
        """Return how many numbers the whole training state has."""
        return (1 + len(self.optimizer.slots)) * self.trained_elements()

    def trained_elements(self) -> int:
        """Return how many numbers are trained, on all ranks together."""
        return sum(parameter.numel() for _, parameter in self.trainable())

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

    def ranks_aside(self) -> RanksAside:
        """Return the ranks for another thread, over a process group of its own on the CPU. All ranks must call it."""
        return RanksAside.of(self.rank, self.world_size)

    def _clipped_norm(self) -> Tensor | None:
        """Clip gradients that are whole and averaged; return their norm before that, or None if they overflowed float16.

        Under float16 it divides them by the loss scale first, and waits for them: whether they are finite decides what comes next.
        """
        parameters = [parameter for _, parameter in self.trainable()]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.loss_scale is not None:
            self.loss_scale.unscale(gradients)
        norm: Tensor = torch.nn.utils.get_total_norm(gradients)
        if self.loss_scale is not None and not self.loss_scale.fits(overflowed=not norm.isfinite()):
            return None
        torch.nn.utils.clip_grads_with_norm_(parameters, self.clipping if self.clipping > 0 else float("inf"), norm)
        return norm

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of everything that is trained, in the model's order (the same on every rank)."""
        return ((name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad)
