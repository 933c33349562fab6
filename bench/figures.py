"""The figures of one run: from its lines of step, time and tokens, and from its processes.

Test: tests/bench/test_figures.py.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.processes import Finished

WARM_UP_STEPS = 2
"""Steps that are left out of the rate: in the first ones memory is taken and kernels are chosen."""


@dataclass(frozen=True)
class Figures:
    """What is compared."""

    name: str
    steps: int
    tokens_per_second: float
    start_to_first_step_seconds: float
    peak_memory_bytes: int
    total_seconds: float

    def to_wire(self) -> dict[str, Any]:
        """Return the figures as they are in the JSON file."""
        return asdict(self)


def figures_of(name: str, metrics: Path, finished: Finished) -> Figures:
    """Return the figures of a run whose metrics file has `step`, `time` and `tokensSeen` in the line of each step."""
    lines = [line for line in map(json.loads, metrics.read_text().splitlines()) if "tokensSeen" in line]
    if len(lines) <= WARM_UP_STEPS + 1:
        raise ValueError(f"{metrics}: {len(lines)} steps are too few for a rate, {WARM_UP_STEPS + 2} are needed")
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in lines]
    tokens = lines[-1]["tokensSeen"] - lines[WARM_UP_STEPS]["tokensSeen"]
    return Figures(
        name=name,
        steps=len(lines),
        tokens_per_second=tokens / (times[-1] - times[WARM_UP_STEPS]),
        start_to_first_step_seconds=times[0] - finished.started,
        peak_memory_bytes=finished.peak_bytes,
        total_seconds=finished.seconds,
    )
