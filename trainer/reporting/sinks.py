"""Where rank 0's figures go besides the progress record: metrics.jsonl, TensorBoard, Ray's metrics port.

Each sink takes a step and named figures. The other ranks have none, and a sink that fails is only logged.
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
    """Takes figures of one step."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Store figures; names such as trainLoss, tokensPerSecond, validation/perplexity."""


SinkOpener = Callable[[], MetricsSink]


class JsonLinesSink:
    """One JSON object a line in metrics.jsonl. A resumed run drops the lines after the step that it goes on from."""

    def __init__(self, path: Path, resumed_from_step: int) -> None:
        self._path = path
        if path.is_file():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if step_of_line(line) <= resumed_from_step]
            write_atomically(path, "".join(line + "\n" for line in kept))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a line."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "time": datetime.now(UTC).isoformat(), **finite(figures)}) + "\n")


def step_of_line(line: str) -> float:
    """Return the step of a line of metrics.jsonl; infinity for a line that a crash cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class TensorBoardSink:
    """TensorBoard event files. What an interrupted run wrote of steps that are trained again is hidden."""

    def __init__(self, directory: Path, resumed_from_step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer: Any = SummaryWriter(str(directory), purge_step=resumed_from_step + 1)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


class FanOut:
    """Passes figures on to all sinks; the fault of one is logged and does not reach training."""

    def __init__(self, openers: Sequence[SinkOpener]) -> None:
        self._sinks: list[MetricsSink] = []
        for opener in openers:
            try:
                self._sinks.append(opener())
            except Exception as error:  # as in log
                logger.warning("a place for figures could not be opened: %s", error)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Pass figures on."""
        for sink in self._sinks:
            try:
                sink.log(step, figures)
            except Exception as error:  # a full disk or a lost node must not end training
                logger.warning("%s could not store the figures of step %d: %s", type(sink).__name__, step, error)
