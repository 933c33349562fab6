"""The figures of a step on their way from the device to the host, where they are read when they have arrived.

On a GPU the loop goes on while a step is still being computed: reading a figure at once would leave the device idle until the next
step is launched. Test: tests/trainer/training/test_figures.py.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune.api.errors import RunError
from finetune.api.record import REASON_DIVERGED, TrainingProgress
from trainer.engine.lossscale import SMALLEST_SCALE, LossScale


class TrainingDivergedError(RunError):
    """Loss or gradient norm is no longer finite; continuing would only write a broken model."""

    reason = REASON_DIVERGED


@dataclass(frozen=True)
class Scaling:
    """What float16 has cost so far."""

    loss_scale: float
    """Of the next step."""
    repeated_steps: int
    """How often a step was computed again because its gradient had overflowed, in this run."""


@dataclass(frozen=True)
class StepResult:
    """Figures of one optimizer step, the same on every rank."""

    progress: TrainingProgress
    """The progress that this step made."""
    train_loss: float
    """Mean negative log-likelihood per token with loss in the global batch, in nats, without penalties."""
    gradient_norm: float
    learning_rate: float
    loss_tokens: int
    scaling: Scaling | None = None
    """None where the loss is not scaled."""


class LaunchedStep:
    """A step that the device may still be computing."""

    def __init__(self, step: int, tokens_seen: int, learning_rate: float, units: int, sums: Tensor, gradient_norm: Tensor,
                 scaling: Scaling | None = None) -> None:  # fmt: skip
        """`sums` are of all ranks, float64: the negative log-likelihood, and how many ranks were asked to stop."""
        self.step, self.tokens_seen, self.learning_rate, self.units, self.scaling = step, tokens_seen, learning_rate, units, scaling
        figures = torch.cat([sums, gradient_norm.detach().to(sums).reshape(1)])
        self._figures = figures.to("cpu", non_blocking=True)
        # Waiting for the device itself would wait for the steps that were launched since.
        self._arrived = torch.cuda.Event() if figures.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record()

    def read(self) -> tuple[float, float, bool]:
        """Return loss, gradient norm, and whether a rank was asked to stop. Waits until the device has finished the step.

        Raises TrainingDivergedError, which names the step, if loss or gradient norm is not finite.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        nll, asked_to_stop, gradient_norm = self._figures.tolist()
        train_loss = nll / max(1, self.units)
        if not (math.isfinite(train_loss) and math.isfinite(gradient_norm)):
            raise TrainingDivergedError(f"step {self.step}: loss {train_loss}, gradient norm {gradient_norm}; lower training.learningRate")
        return train_loss, gradient_norm, asked_to_stop > 0


def refuse_repeating(step: int, nll: float, loss_scale: LossScale) -> None:
    """Raise TrainingDivergedError where a step whose gradient overflowed float16 would overflow at every loss scale.

    `nll` is the step's loss, summed over all ranks.
    """
    instead = "set training.precision to bfloat16 or float32, or lower training.learningRate"
    if not math.isfinite(nll):
        raise TrainingDivergedError(f"step {step}: loss {nll} in float16, whose largest number is 65,504; {instead}")
    if loss_scale.collapsed:
        raise TrainingDivergedError(f"step {step}: the gradient overflows float16 at any loss scale from {SMALLEST_SCALE:g} up; {instead}")
