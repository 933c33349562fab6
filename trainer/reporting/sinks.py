"""Where rank 0's figures go besides the progress record: metrics.jsonl, TensorBoard, Ray's metrics port.

A sink takes a step, named figures and the time at which they were known. Other ranks have none, and the failure of a sink is only logged.
Test: tests/trainer/reporting/test_sinks.py.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from finetune.api.record import finite
from finetune.system.files import write_atomically

logger = logging.getLogger(__name__)


class MetricsSink(Protocol):
    """A destination for the figures of each step."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Store figures; names such as trainLoss, tokensPerSecond, validation/perplexity."""


class BufferedSink(MetricsSink, Protocol):
    """A sink that may store figures later."""

    def flush(self) -> None:
        """Wait until all figures so far are stored, or for so long that the sink must be stuck."""


class NoSink:
    """The sink of a rank that stores no figures."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


class TimedSink(Protocol):
    """A destination that is reached later than figures are known, so that it is told when that was."""

    def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
        """Store figures that were known at `known_at`, in seconds since the epoch."""


SinkOpener = Callable[[], TimedSink]


class JsonLinesSink:
    """Writes metrics.jsonl, one JSON object per line. A resumed run first drops the lines after the step it resumes from."""

    def __init__(self, path: Path, resumed_from_step: int) -> None:
        self._path = path
        if path.is_file():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if step_of_line(line) <= resumed_from_step]
            write_atomically(path, "".join(line + "\n" for line in kept))

    def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
        """Append a line with step, UTC time and figures; those that are not finite become null."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "time": datetime.fromtimestamp(known_at, UTC).isoformat(), **finite(figures)}) + "\n")


def step_of_line(line: str) -> float:
    """Return the step of a line of metrics.jsonl; infinity for a line truncated by a crash."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class TensorBoardSink:
    """Writes TensorBoard event files; hides what an interrupted run wrote for steps that are trained again."""

    def __init__(self, directory: Path, resumed_from_step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer: Any = SummaryWriter(str(directory), purge_step=resumed_from_step + 1)

    def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
        """Write each figure as a scalar, and flush so that a running TensorBoard shows it."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step, walltime=known_at)
        self._writer.flush()


class FanOut:
    """Forwards figures to all sinks; the failure of one is logged and does not affect training."""

    def __init__(self, openers: Sequence[SinkOpener]) -> None:
        self._sinks: list[TimedSink] = []
        for opener in openers:
            try:
                self._sinks.append(opener())
            except Exception as error:  # as in log
                logger.warning("a sink for figures could not be opened: %s", error)

    def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
        """Forward the figures to every sink that could be opened; never raises."""
        for sink in self._sinks:
            try:
                sink.log(step, figures, known_at)
            except Exception as error:  # a full disk or a lost node must not end training
                logger.warning("%s could not store the figures of step %d: %s", type(sink).__name__, step, error)
