"""Builds job files for the tests of the command."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tests.builders import changed, resource, write_documents

JOB = resource(
    "support-bot",
    data__train=[{"configMap": {"name": "pairs", "key": "train.jsonl"}}],
    method__lora__rank=8,
    training__globalBatchSize=8,
)
CONFIG_MAP: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pairs"}, "data": {"train.jsonl": '{"a": 1}\n'}}


def job(**changes: Any) -> dict[str, Any]:
    """Return the sample job with changes to the document: `spec__training__epochs=2` sets a field of its spec."""
    return changed(JOB, **changes)


def write(folder: Path, *documents: Any) -> Path:
    """Write documents into folder/job.yaml."""
    return write_documents(folder / "job.yaml", *(documents or [CONFIG_MAP, JOB]))


def standin(behavior: str) -> list[str]:
    """Return the command that starts the stand-in for the trainer."""
    return [sys.executable, str(Path(__file__).with_name("standin.py")), behavior]


@contextlib.contextmanager
def gone_reader() -> Iterator[TextIO]:
    """Yield a pipe that nobody reads any more, as `| head -1` leaves it."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    try:
        yield stream
    finally:
        with contextlib.suppress(BrokenPipeError):
            stream.close()
