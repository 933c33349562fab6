"""The training loop, to be read top to bottom. Everything besides the step itself is a hook that can be tested alone.

Knows nothing of Ray, files or Kubernetes. Test: tests/trainer/training/test_loop.py, tests/trainer/engine/test_invariance.py.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import torch

from finetune.api.errors import RunError
from finetune.api.record import REASON_DIVERGED, TrainingProgress
from finetune.api.sections import Training
from trainer.engine.base import Engine
from trainer.objectives.base import B, Batch, Forward, Objective
from trainer.training.schedule import learning_rate_at

RATE_WINDOW_STEPS = 20


class TrainingDivergedError(RunError):
    """Loss or gradient norm is no longer finite; continuing would only write a broken model."""

    reason = REASON_DIVERGED


class StopReason(StrEnum):
    """Why training ended before its last step."""

    EARLY = "EarlyStopped"
    """Validation found no improvement within the job's patience."""
    INTERRUPTED = "Interrupted"
    """The driver asked for it; another attempt continues."""


@dataclass
class Progress:
    """Progress of training. `step` counts finished optimizer steps; `tokens_seen` all tokens computed, excluding padding."""

    total_steps: int
    steps_per_epoch: float
    step: int = 0
    tokens_seen: int = 0
    stop_reason: StopReason | None = None
    step_seconds: float = 0.0
    """Time in steps of this attempt, without evaluations and checkpoints."""
    step_tokens: int = 0
    """Tokens of those steps, over all ranks."""
    _times: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=RATE_WINDOW_STEPS + 1))

    @property
    def finished(self) -> bool:
        """Whether no more steps follow."""
        return self.step >= self.total_steps or self.stop_reason is not None

    def mark(self, now: float) -> None:
        """Record the time (monotonic, seconds) at a step's end or before the first step, for rate and ETA."""
        if self._times:
            before, _, tokens_before = self._times[-1]
            self.step_seconds += now - before
            self.step_tokens += self.tokens_seen - tokens_before
        self._times.append((now, self.step, self.tokens_seen))

    @property
    def paused(self) -> bool:
        """Whether the next step's beginning must be marked first."""
        return not self._times

    def pause(self) -> None:
        """Drop the recorded times: what follows, such as an evaluation, is not training."""
        self._times.clear()

    def to_record(self) -> TrainingProgress:
        """Return the progress for the record; rate and ETA are over the last `RATE_WINDOW_STEPS` steps, None if unknown."""
        rate = self.step_tokens / self.step_seconds if self.step_seconds > 0 else None
        eta = None
        if len(self._times) >= 2:
            (begin, first_step, first_tokens), (end, last_step, last_tokens) = self._times[0], self._times[-1]
            seconds = max(end - begin, 1e-9)
            rate = (last_tokens - first_tokens) / seconds
            eta = (self.total_steps - self.step) * seconds / max(1, last_step - first_step)
        return TrainingProgress(
            step=self.step, total_steps=self.total_steps, epoch=self.step / self.steps_per_epoch, tokens_seen=self.tokens_seen,
            tokens_per_second=rate, eta_seconds=eta,
        )  # fmt: skip


@dataclass(frozen=True)
class StepResult:
    """Figures of one optimizer step, the same on every rank."""

    train_loss: float
    """Mean negative log-likelihood per token with loss in the global batch, in nats, without label smoothing."""
    gradient_norm: float
    learning_rate: float
    loss_tokens: int


class Hook(Protocol):
    """An action after each step: logging, validation, checkpoints, stopping."""

    def after_step(self, progress: Progress, result: StepResult) -> None:
        """Act; set progress.stop_reason to end training. Called on every rank, in the same order."""


def train(engine: Engine, objective: Objective[B], batches: Callable[[int], Sequence[B]], training: Training, label_smoothing: float,
          progress: Progress, hooks: Sequence[Hook]) -> None:  # fmt: skip
    """Train until progress is finished. `batches(step)` returns this rank's micro-batches of a step, collated by the objective.

    Raises TrainingDivergedError if loss or gradient norm is not finite.
    """
    engine.model.train()
    forward = Forward.of(engine.model, engine.forward)
    while not progress.finished:
        if progress.paused:
            progress.mark(time.monotonic())
        micro_batches = batches(progress.step)
        units, tokens = (int(total) for total in engine.sums_over_ranks(counts(micro_batches)))
        seed_step(training.seed, progress.step, engine.rank)
        nll = torch.zeros((), dtype=torch.float64, device=engine.device)  # read once per step: each read waits for the device
        for index, batch in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            with engine.accumulating(last):
                sums = objective.loss(forward, batch.to(engine.device), label_smoothing)
                # The engine averages over ranks; this makes it a mean over all units of the global batch.
                engine.backward(sums.objective * (engine.world_size / max(1, units)), last=last)
            nll += sums.nll
        learning_rate = learning_rate_at(progress.step, progress.total_steps, training)
        gradient_norm = engine.step(learning_rate)
        train_loss = engine.sums_over_ranks([float(nll)])[0] / max(1, units)
        if not (math.isfinite(train_loss) and math.isfinite(gradient_norm)):
            raise TrainingDivergedError(
                f"step {progress.step + 1}: loss {train_loss}, gradient norm {gradient_norm}; lower training.learningRate"
            )
        progress.step += 1
        progress.tokens_seen += tokens
        progress.mark(time.monotonic())
        for hook in hooks:
            hook.after_step(progress, StepResult(train_loss, gradient_norm, learning_rate, units))


def counts(batches: Sequence[Batch]) -> list[float]:
    """Return the numbers of loss units and of tokens in this rank's part of a step."""
    return [float(sum(batch.units for batch in batches)), float(sum(batch.tokens for batch in batches))]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make dropout a function of seed, step and rank, so that a resumed run draws the same as an uninterrupted one."""
    torch.manual_seed(((seed * 1_000_003 + step) * 65_537 + rank) % 2**63)
