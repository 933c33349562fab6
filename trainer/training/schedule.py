"""The learning rate as a pure function of the step. Test: tests/trainer/training/test_schedule.py."""

import math

from finetune.api.sections import DECAY_RATIO, Scheduler, Training


def learning_rate_at(step: int, total_steps: int, training: Training) -> float:
    """Return the learning rate of optimizer step `step` (0 is the first) of `total_steps`.

    It rises linearly over the warm-up steps and reaches the peak at the first step after them. Then cosine and linear
    fall toward 0 at `total_steps`; constant stays at the peak; warmupStableDecay stays there until its last steps, over which it falls
    linearly toward 0 at `total_steps`. The schedules of transformers are the same after warm-up; theirs begin it with a step at rate 0.
    """
    warmup_steps = math.ceil(training.warmup_ratio * total_steps)
    if step < warmup_steps:
        return training.learning_rate * (step + 1) / (warmup_steps + 1)
    remaining = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    match training.scheduler:
        case Scheduler.COSINE:
            return training.learning_rate * 0.5 * (1 + math.cos(math.pi * remaining))
        case Scheduler.LINEAR:
            return training.learning_rate * (1 - remaining)
        case Scheduler.CONSTANT:
            return training.learning_rate
        case Scheduler.WARMUP_STABLE_DECAY:
            ratio = DECAY_RATIO if training.decay_ratio is None else training.decay_ratio
            decay_steps = min(math.ceil(ratio * total_steps), total_steps - warmup_steps)
            return training.learning_rate * min(1.0, (total_steps - step) / decay_steps)
