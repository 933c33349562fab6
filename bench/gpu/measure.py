"""Runs every program on every shape, each in a process of its own, until the time is used up.

A program that fails or for which no time is left is listed with the reason; the others are measured all the same.
Test: tests/bench/gpu/test_measure.py.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.comparison import DisagreementError, check_agreement
from bench.figures import lines_of
from bench.gpu.figures import Measured, measured
from bench.gpu.files import write_model, write_rows
from bench.gpu.program import MEMORY, OURS
from bench.gpu.shapes import Shape, peak_flops
from bench.scenarios import ROOT

PROGRAMS = {OURS: "finetune", "bare": "bare loop", "huggingface": "HF Trainer"}
FIRST_LOSS = 0.01
"""How far the first losses may be apart: bfloat16 rounds differently in each program."""
LAST_LINES = 15


class ProgramFailedError(Exception):
    """A program ended with another code than 0, or was too slow."""


@dataclass
class Budget:
    """The time that is left, in seconds."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def left(self) -> float:
        """Seconds until the script has to end."""
        return self.seconds - (self.clock() - self._started)


@dataclass
class Results:
    """What was measured, and what was not and why."""

    figures: list[Measured] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: bool = False
    """Something went wrong; being short of time is no failure."""


def run_program(name: str, shape: Shape, folder: Path, device: torch.device, seconds: float) -> Measured:
    """Train once, and remove what it wrote. Raises ProgramFailedError."""
    output, config = folder / name, folder / f"{name}.json"
    output.mkdir()
    config.write_text(json.dumps(shape.config(folder, output, gpus=1 if device.type == "cuda" else 0)))
    options = ["--config", str(config), "--output", str(output), "--device", device.type, *(["--packed"] if shape.chat else [])]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-m", "bench.gpu.program", name, *options]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailedError(f"{PROGRAMS[name]} on {shape.name}: took more than {seconds:.0f} s") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-LAST_LINES:])
        raise ProgramFailedError(f"{PROGRAMS[name]} on {shape.name}: ended with {done.returncode}\n{said}")
    memory = json.loads((output / MEMORY).read_text())["peakMemoryBytes"]
    flops = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    found = measured(shape, PROGRAMS[name], lines_of(output / "metrics.jsonl"), memory, flops)
    shutil.rmtree(output)
    return found


def measure_shape(shape: Shape, folder: Path, device: torch.device, budget: Budget, results: Results, say: Callable[[str], None]) -> None:
    """Measure all programs on a shape; what they wrote is removed at the end."""
    if budget.left < shape.seconds:
        results.left_out.append(f"{shape.name}: no time was left")
        return
    folder.mkdir()
    try:
        write_model(folder / "model", shape, device)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        write_rows(folder / "rows.jsonl", shape)
        of_shape: list[Measured] = []
        for name, label in PROGRAMS.items():
            if budget.left < shape.seconds / 2:
                results.left_out.append(f"{label} on {shape.name}: no time was left")
                continue
            try:
                found = run_program(name, shape, folder, device, min(shape.seconds, budget.left))
                check_agreement([*of_shape[:1], found], FIRST_LOSS)
            except (ProgramFailedError, DisagreementError, ValueError) as error:
                results.left_out.append(str(error))
                results.failed = True
                say(str(error))
                continue
            of_shape.append(found)
            say(f"{line_of(found)}  ({budget.left:.0f} s left)")
        results.figures += of_shape
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(shapes: Sequence[Shape], folder: Path, device: torch.device, budget: Budget, say: Callable[[str], None]) -> Results:
    """Measure all shapes in a folder with room for a model's weights."""
    results = Results()
    for number, shape in enumerate(shapes):
        measure_shape(shape, folder / str(number), device, budget, results, say)
    return results


def line_of(found: Measured) -> str:
    """Return the figures as a line."""
    mfu = "" if found.mfu is None else f"  MFU {found.mfu:.1%}"
    return (
        f"{found.shape}  {found.program:12} {found.tokens_per_second:10,.0f} tokens/s{mfu}  {found.peak_memory_bytes / 2**30:6.2f} GiB  "
        f"checkpoint {found.checkpoint_stall_seconds:.2f} s"
    )
