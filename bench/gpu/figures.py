"""The figures of one training on a device, from the lines of its steps. Pure. Test: tests/bench/gpu/test_figures.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from bench.gpu.shapes import Shape

WARM_UP_STEPS = 3
"""Memory is taken, kernels are chosen, and clocks rise."""


@dataclass(frozen=True)
class Measured:
    """One program on one shape."""

    shape: str
    program: str
    tokens_per_second: float
    step_seconds: float
    mfu: float | None
    """Share of the card's arithmetic that the model's operations are, without attention and recomputation; None for unknown cards."""
    peak_memory_bytes: int
    checkpoint_stall_seconds: float
    """How much longer the step took after which a checkpoint was saved."""
    tokens: tuple[int, ...]
    losses: tuple[float, ...]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.program} on {self.shape}"

    def to_wire(self) -> dict[str, Any]:
        """Return the figures as they are in the JSON file."""
        mfu = None if self.mfu is None else round(self.mfu, 4)
        return {
            "shape": self.shape, "program": self.program, "tokensPerSecond": round(self.tokens_per_second, 1),
            "stepSeconds": round(self.step_seconds, 4), "mfu": mfu, "peakMemoryBytes": self.peak_memory_bytes,
            "checkpointStallSeconds": round(self.checkpoint_stall_seconds, 3), "losses": list(self.losses),
        }  # fmt: skip


def measured(shape: Shape, program: str, lines: Sequence[Mapping[str, Any]], peak_memory_bytes: int, flops: float | None) -> Measured:
    """Return the figures; `flops` is the card's arithmetic per second. ValueError for too few steps.

    The rate is that of the median step: the checkpoint in the middle is a figure of its own.
    """
    saved = shape.steps - 3
    if len(lines) != shape.steps or saved <= WARM_UP_STEPS:
        raise ValueError(f"{program} on {shape.name}: {len(lines)} steps, {max(shape.steps, WARM_UP_STEPS + 4)} were expected")
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in lines]
    intervals = [after - before for before, after in pairwise(times)]
    seen = [0, *(int(line["tokensSeen"]) for line in lines)]
    tokens = [after - before for before, after in pairwise(seen)]
    # Interval i ends with step i + 2, so the one after the checkpoint of step `saved` has the index saved - 1.
    usual = [index for index in range(WARM_UP_STEPS - 1, len(intervals)) if index != saved - 1]
    step_seconds = median(intervals[index] for index in usual)
    rate = median(tokens[index + 1] / intervals[index] for index in usual)
    return Measured(
        shape=shape.name,
        program=program,
        tokens_per_second=rate,
        step_seconds=step_seconds,
        mfu=None if flops is None else rate * shape.flops_per_token / flops,
        peak_memory_bytes=peak_memory_bytes,
        checkpoint_stall_seconds=max(0.0, intervals[saved - 1] - step_seconds),
        tokens=tuple(tokens),
        losses=tuple(round(float(line["trainLoss"]), 6) for line in lines),
    )
