"""The training loop, to be read top to bottom. Everything besides the step itself is a hook that can be tested alone.

Knows nothing of Ray, files or Kubernetes. Test: tests/trainer/training/test_loop.py, tests/trainer/engine/test_invariance.py.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Generic, Protocol

import torch
from torch import Tensor

from finetune.api.record import TrainingProgress
from finetune.api.sections import Training
from trainer.engine.base import Engine
from trainer.objectives.base import B, Forward, Objective
from trainer.objectives.penalties import Penalties
from trainer.training.figures import LaunchedStep, Scaling, StepResult, refuse_repeating
from trainer.training.schedule import learning_rate_at

RATE_WINDOW_STEPS = 20


class StopReason(StrEnum):
    """Why training ended before its last step."""

    EARLY = "EarlyStopped"
    """Validation found no improvement within the job's patience."""
    BUDGET = "GeneralBudgetExceeded"
    """General texts became less likely than the job's budget allows."""
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
    repeated_steps: int = 0
    """How often a step was computed again because its gradient had overflowed float16; such a repetition is no step of its own."""
    step_seconds: float = 0.0
    """Time in steps of this attempt, without evaluations and checkpoints."""
    step_tokens: int = 0
    """Tokens of those steps, over all ranks."""
    _times: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=RATE_WINDOW_STEPS + 1))

    @property
    def finished(self) -> bool:
        """Whether no more steps follow."""
        return self.step >= self.total_steps or self.stop_reason is not None

    def mark(self, now: float, at: tuple[int, int] | None = None) -> None:
        """Record the time (monotonic, seconds) at a step's end or before the first step, for rate and ETA.

        `at` are step and tokens seen by then, by default those of now: on a GPU a later step may be launched before one has ended.
        """
        step, tokens_seen = at if at is not None else (self.step, self.tokens_seen)
        if self._times:
            before, _, tokens_before = self._times[-1]
            self.step_seconds += now - before
            self.step_tokens += tokens_seen - tokens_before
        self._times.append((now, step, tokens_seen))

    @property
    def paused(self) -> bool:
        """Whether the next step's beginning must be marked first."""
        return not self._times

    def pause(self) -> None:
        """Drop the recorded times: what follows, such as an evaluation, is not training."""
        self._times.clear()

    def to_record(self, at: tuple[int, int] | None = None) -> TrainingProgress:
        """Return the progress for the record; rate and ETA are None if unknown.

        The ETA is over the last `RATE_WINDOW_STEPS` steps, or those since a pause; so is the rate if there are as many, else it is over all
        steps of the attempt: that of one or two says more about their texts than about the speed. `at` is as in `mark`.
        """
        step, tokens_seen = at if at is not None else (self.step, self.tokens_seen)
        rate = self.step_tokens / self.step_seconds if self.step_seconds > 0 else None
        eta = None
        if len(self._times) >= 2:
            (begin, first_step, first_tokens), (end, last_step, last_tokens) = self._times[0], self._times[-1]
            seconds = max(end - begin, 1e-9)
            if len(self._times) > RATE_WINDOW_STEPS:
                rate = (last_tokens - first_tokens) / seconds
            eta = (self.total_steps - step) * seconds / max(1, last_step - first_step)
        return TrainingProgress(
            step=step, total_steps=self.total_steps, epoch=step / self.steps_per_epoch, tokens_seen=tokens_seen,
            tokens_per_second=rate, eta_seconds=eta,
        )  # fmt: skip


@dataclass(frozen=True)
class StepBatches(Generic[B]):
    """One rank's part of a global batch, and the counts of the whole, which every rank knows before the step."""

    micro_batches: Sequence[B]
    """Collated by the objective; equally many on every rank."""
    units: int
    """What the loss is a mean over, such as tokens with loss, over all ranks."""
    tokens: int
    """Tokens that the model reads, without padding, over all ranks."""


class Hook(Protocol):
    """An action after some steps: validation, checkpoints, stopping."""

    def due(self, progress: Progress) -> bool:
        """Return whether the hook acts after this step: all figures are read before."""

    def after_step(self, progress: Progress) -> None:
        """Act if due, or if training is finished; set progress.stop_reason to end it.

        Called on every rank in the same order, after the last step and after those that are due for any hook.
        """


@dataclass(frozen=True)
class Supervision:
    """Who learns of the steps, and who may end them."""

    note: Callable[[StepResult], None] = lambda _: None
    """Gets the figures of every step, in order; on a GPU one step late, unless a hook is due."""
    asked_to_stop: Callable[[], bool] = lambda: False
    """Asked on every rank once a step: whether this rank knows of a request to stop. All ranks stop if one does."""
    hooks: Sequence[Hook] = ()


def train(engine: Engine, forward: Forward, objective: Objective[B], batches: Callable[[int], StepBatches[B]], training: Training,
          penalties: Penalties, progress: Progress, supervision: Supervision) -> None:  # fmt: skip
    """Train until progress is finished. `batches(step)` returns what this rank computes in a step.

    Raises TrainingDivergedError if loss or gradient norm is not finite, before any hook sees the weights of that step; on an
    asynchronous engine one more step may be computed from them.
    """
    engine.model.train()
    unread: deque[LaunchedStep] = deque()
    while not progress.finished:
        if progress.paused:
            progress.mark(time.monotonic())
        batch = batches(progress.step)
        learning_rate = learning_rate_at(progress.step, progress.total_steps, training)
        computed = partial(backward, engine, objective, forward, batch, penalties)
        nll, gradient_norm = take_step(engine, computed, training.seed, learning_rate, progress)
        sums = engine.sum_over_ranks(torch.stack([nll, torch.full_like(nll, float(supervision.asked_to_stop()))]))
        progress.step += 1
        progress.tokens_seen += batch.tokens
        scaling = Scaling(engine.loss_scale.scale, progress.repeated_steps) if engine.loss_scale is not None else None
        unread.append(LaunchedStep(progress.step, progress.tokens_seen, learning_rate, batch.units, sums, gradient_norm, scaling))
        read(unread, progress, supervision, keep=1 if engine.asynchronous else 0)
        if progress.finished or any(hook.due(progress) for hook in supervision.hooks):
            read(unread, progress, supervision, keep=0)
            for hook in supervision.hooks:
                hook.after_step(progress)


def take_step(engine: Engine, computed: Callable[[], Tensor], seed: int, learning_rate: float, progress: Progress) -> tuple[Tensor, Tensor]:
    """Compute a step's gradients with `computed`, and take the step; return what `computed` returned, and the norm of the gradient.

    A step whose gradient overflows float16 is computed again with half the loss scale: the same rows, masks and learning rate, so that
    neither rows nor the schedule know of it. Raises TrainingDivergedError where that cannot help.
    """
    while True:
        seed_step(seed, progress.step, engine.rank)
        nll = computed()
        gradient_norm = engine.step(learning_rate)
        if gradient_norm is not None:
            return nll, gradient_norm
        progress.repeated_steps += 1
        if engine.loss_scale is not None:
            refuse_repeating(progress.step + 1, engine.sums_over_ranks([float(nll)])[0], engine.loss_scale)


def backward(engine: Engine, objective: Objective[B], forward: Forward, batch: StepBatches[B], penalties: Penalties) -> Tensor:
    """Add the gradients of all micro-batches; return this rank's sum of negative log-likelihoods, a float64 scalar on the device."""
    nll = torch.zeros((), dtype=torch.float64, device=engine.device)
    for index, micro_batch in enumerate(batch.micro_batches):
        last = index == len(batch.micro_batches) - 1
        with engine.accumulating(last):
            sums = objective.loss(forward, micro_batch.to(engine.device), penalties)
            # The engine averages over ranks; this makes it a mean over all units of the global batch.
            engine.backward(sums.objective * (engine.world_size / max(1, batch.units)), last=last)
        nll += sums.nll
    return nll


def read(unread: deque[LaunchedStep], progress: Progress, supervision: Supervision, keep: int) -> None:
    """Pass on the figures of all launched steps but the last `keep`; end training if one of them has brought a request to stop."""
    while len(unread) > keep:
        launched = unread.popleft()
        train_loss, gradient_norm, stop = launched.read()
        at = launched.step, launched.tokens_seen
        progress.mark(time.monotonic(), at)
        record = progress.to_record(at)
        supervision.note(StepResult(record, train_loss, gradient_norm, launched.learning_rate, launched.units, launched.scaling))
        if stop and not progress.finished:
            progress.stop_reason = StopReason.INTERRUPTED


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make dropout a function of seed, step and rank, so that a resumed run draws the same as an uninterrupted one."""
    torch.manual_seed(((seed * 1_000_003 + step) * 65_537 + rank) % 2**63)
