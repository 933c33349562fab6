"""The runs of a bench, one after the other: each program's command, its figures, and that all computed the same.

Writes below one folder, and removes models and checkpoints as soon as a run is measured. Test: tests/bench/test_runs.py.
"""

import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.comparison import OURS, check_agreement, interleaved
from bench.figures import Figures, figures_of
from bench.processes import Finished, run
from bench.scenarios import QUICKSTART, Scenario, Size, command_of, command_of_ours, job_documents
from finetune.system.threads import THREADS_ENVIRONMENT


class Bench:
    """The runs of one call, below a folder of their own."""

    def __init__(self, size: Size, output: Path, references: dict[str, str], cores: int) -> None:
        self._size, self._output, self._cores = size, output, cores
        self._names = {label: name for name, label in references.items()}

    def measure(self, program: str, scenario: Scenario) -> Figures:
        """Run one program once; ours must come first. Raises RunFailedError."""
        folder = self._output / scenario.name.replace(" ", "-").replace(",", "")
        output, log = folder / self._names.get(program, "ours"), folder / f"{self._names.get(program, 'ours')}.log"
        shutil.rmtree(output, ignore_errors=True)
        command = self._ours(scenario, folder, output) if program == OURS else self._reference(program, scenario, folder, output)
        threads = str(max(1, self._cores // scenario.workers))
        # All programs have as many threads as `finetune run` takes by itself, with its settings, and ask no hub for anything.
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        finished = run(command, log, {"OMP_NUM_THREADS": threads, **THREADS_ENVIRONMENT, **offline})
        return self._figures(program, output, finished, folder)

    def _ours(self, scenario: Scenario, folder: Path, output: Path) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        documents = job_documents(list(yaml.safe_load_all(QUICKSTART.read_text())), scenario, self._size)
        job = folder / "job.yaml"
        job.write_text(yaml.safe_dump_all(documents))
        return command_of_ours(job, output)

    def _reference(self, program: str, scenario: Scenario, folder: Path, output: Path) -> list[str]:
        output.mkdir(parents=True)
        return command_of(self._names[program], scenario, folder / "ours.config.json", output)

    def _figures(self, program: str, output: Path, finished: Finished, folder: Path) -> Figures:
        """Return the run's figures, and remove its models and checkpoints: twelve of a whole model would fill a disk."""
        figures = figures_of(program, output / "metrics.jsonl", finished)
        if program == OURS:
            config = json.loads((output / ".finetune" / "config.json").read_text())
            kept = folder / "configmaps"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(output / ".finetune" / "configmaps", kept)
            moved = json.dumps(config).replace(str(output / ".finetune" / "configmaps"), str(kept))
            (folder / "ours.config.json").write_text(moved)
        shutil.rmtree(output)
        return figures


def run_all(
    bench: Bench, scenarios: Sequence[Scenario], labels: Sequence[str], repeats: int, log: Path, seconds: float = float("inf")
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the figures by scenario and program, and a record of each run with the load average when it began.

    No repeat begins that would probably not end within `seconds` from now; the first one always runs. Each record is appended to
    `log` at once, so that what was measured before a failure is not lost.
    """
    found: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    records: list[dict[str, Any]] = []
    began, under_way = time.monotonic(), 0
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    for repeat, scenario, program in interleaved(scenarios, labels, repeats):
        if program in scenario.without:
            continue
        if repeat != under_way:
            if (time.monotonic() - began) * (repeat + 1) / repeat > seconds:
                print(f"no time for repeat {repeat + 1} of {repeats}", flush=True)
                break
            under_way = repeat
        load = os.getloadavg()[0]
        figures = bench.measure(program, scenario)
        found[scenario.name][program].append(figures)
        check_agreement([found[scenario.name][OURS][-1], figures])
        records.append({"repeat": repeat + 1, "scenario": scenario.name, "load": round(load, 2), **figures.to_wire()})
        with log.open("a") as stream:
            stream.write(json.dumps(records[-1]) + "\n")
        print(line_of(repeat, repeats, scenario, figures), flush=True)
    return found, records


def line_of(repeat: int, repeats: int, scenario: Scenario, figures: Figures) -> str:
    """Return what is printed of a run."""
    return (
        f"{repeat + 1}/{repeats}  {scenario.name:26} {figures.name:16} {figures.tokens_per_second:7,.0f} tokens/s  first step "
        f"{figures.start_to_first_step_seconds:5.1f} s  {figures.peak_memory_bytes / 2**30:5.2f} GiB  {figures.cpu_seconds:5.0f} CPU-s  "
        f"{figures.total_seconds:4.0f} s"
    )
