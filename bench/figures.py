"""The figures of one run: from its lines of step, time, tokens and loss, and from its processes.

Test: tests/bench/test_figures.py.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.processes import Finished

WARM_UP_STEPS = 2
"""Steps that are left out of the rate: in the first ones memory is taken and kernels are chosen."""


@dataclass(frozen=True)
class Figures:
    """What is compared, and what shows that the same was computed."""

    name: str
    steps: int
    tokens_per_second: float
    start_to_first_step_seconds: float
    peak_memory_bytes: int
    cpu_seconds: float
    total_seconds: float
    tokens: tuple[int, ...]
    """Tokens of each step, without padding."""
    losses: tuple[float, ...]
    """Mean loss of each step, in nats."""

    def to_wire(self) -> dict[str, Any]:
        """Return the figures as they are in the JSON file."""
        return asdict(self)


def lines_of(metrics: Path) -> list[dict[str, Any]]:
    """Return the lines of steps of a metrics file; those of validations are left out."""
    return [line for line in map(json.loads, metrics.read_text().splitlines()) if "tokensSeen" in line]


def figures_of(name: str, metrics: Path, finished: Finished) -> Figures:
    """Return the figures of a run whose metrics file has step, time, trainLoss and tokensSeen in the line of each step."""
    lines = lines_of(metrics)
    if len(lines) <= WARM_UP_STEPS + 1:
        raise ValueError(f"{metrics}: {len(lines)} steps are too few for a rate, {WARM_UP_STEPS + 2} are needed")
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in lines]
    seen = [0, *(int(line["tokensSeen"]) for line in lines)]
    return Figures(
        name=name,
        steps=len(lines),
        tokens_per_second=(seen[-1] - seen[WARM_UP_STEPS + 1]) / (times[-1] - times[WARM_UP_STEPS]),
        start_to_first_step_seconds=times[0] - finished.started,
        peak_memory_bytes=finished.peak_bytes,
        cpu_seconds=finished.cpu_seconds,
        total_seconds=finished.seconds,
        tokens=tuple(after - before for before, after in pairwise(seen)),
        losses=tuple(float(line["trainLoss"]) for line in lines),
    )
