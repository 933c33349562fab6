"""Starts `finetune` as its user does, with a tiny model; jobs of one worker need no Ray. Not a test."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.builders import resource, write_documents
from tests.repository import REPOSITORY

RUN_SECONDS = 300.0


def job_file(folder: Path, name: str = "job.yaml", **changes: object) -> Path:
    """Write a job for the tiny model whose files lie beside it."""
    defaults = {
        "model": {"path": "model"},
        "data": {"train": [{"path": "train.jsonl"}], "test": [{"path": "test.jsonl"}]},
        "method": {"lora": {"rank": 4, "alpha": 8}},
        "training": {"maxSteps": 300, "globalBatchSize": 8, "microBatchSize": 8, "learningRate": 0.01, "maxSequenceLength": 128},
        "evaluation": {"generation": {"maxNewTokens": 8, "samples": 4}},
        "distributed": {"workers": 1},
        "checkpoint": {"everySteps": 20, "keep": 2},
    }
    return write_documents(folder / name, resource("tiny", **(defaults | changes)))


def command(*arguments: str | Path) -> list[str]:
    """Return the command line; -P, as the installed script has no current folder on its path either."""
    return [sys.executable, "-P", "-m", "finetune.cli", *map(str, arguments)]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command, with changes."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)} | dict(changes or {})


def finetune(*arguments: str | Path, seconds: float = RUN_SECONDS, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    options = {"env": environment(), "capture_output": True, "encoding": "utf-8", **options}
    return subprocess.run(command(*arguments), timeout=seconds, check=False, **options)


def wait_until(what: str, condition: Callable[[], object], process: subprocess.Popen[Any], log: Path) -> None:
    """Wait for a condition as long as the process lives."""
    deadline = time.monotonic() + RUN_SECONDS
    while not condition():
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, f"not {what} in time"
        time.sleep(0.05)
