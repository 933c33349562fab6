"""`make bench`: the quickstart beside a Hugging Face Trainer run with the same settings, one after the other.

Both train the same model, adapter and rows, in the same order, with as many processes and threads. For a fixed number of
steps, without augmentation (the Trainer has none) and with the least evaluation, so that training is what is measured.
The table goes to the screen and, with the figures, to runs/bench.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from bench.figures import Figures, figures_of
from bench.processes import RunFailedError, run

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "manifests" / "samples" / "quickstart.yaml"
OUTPUT = ROOT / "runs" / "bench"
STEPS = 25
NEVER = 1_000_000
OURS, THEIRS = "finetune run", "Hugging Face Trainer"
REMARKS = """\
finetune run reaches its first step after it has checked the data, started Ray and its dashboard, and measured the base
model; its engine is DeepSpeed ZeRO-2, the Trainer's is DistributedDataParallel. Its memory is with Ray's own processes."""


def bench_documents(documents: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """Return the quickstart's documents with a job that trains for `steps` steps and does little else."""
    [job] = [document for document in documents if document["kind"] == "FineTuneJob"]
    spec = {name: section for name, section in job["spec"].items() if name != "augmentation"}
    spec |= {
        "training": {**spec["training"], "maxSteps": steps, "precision": "float32"},
        "evaluation": {"everySteps": NEVER, "metrics": ["perplexity"]},
        "checkpoint": {"everySteps": NEVER},
        "output": {**spec["output"], "export": ["adapter"]},
    }
    return [{**job, "spec": spec} if document is job else document for document in documents]


def run_ours(job: Path, output: Path) -> Figures:
    """Measure `finetune run`."""
    command = [str(Path(sys.executable).with_name("finetune")), "run", str(job), "--output", str(output), "--overwrite"]
    finished = run(command, output.with_suffix(".log"))
    return figures_of(OURS, output / "metrics.jsonl", finished)


def run_theirs(config: Path, output: Path) -> Figures:
    """Measure the Trainer with as many processes, by the configuration that `finetune run` made of the job."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    workers = json.loads(config.read_text())["workers"]["workers"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
    command = [*launch, "-m", "bench.huggingface", "--config", str(config), "--output", str(output)]
    # One thread per process, as Ray gives a worker of one CPU.
    finished = run(command, output.with_suffix(".log"), {"OMP_NUM_THREADS": "1"})
    return figures_of(THEIRS, output / "metrics.jsonl", finished)


def table_of(figures: list[Figures]) -> Table:
    """Return the comparison as a table, a run in each column."""
    table = Table(title=f"Quickstart, {figures[0].steps} steps, {machine()}", title_justify="left")
    table.add_column("")
    for each in figures:
        table.add_column(each.name, justify="right")
    rows = {
        "tokens/s": [f"{each.tokens_per_second:,.0f}" for each in figures],
        "start to first step, s": [f"{each.start_to_first_step_seconds:.1f}" for each in figures],
        "peak memory, GiB": [f"{each.peak_memory_bytes / 2**30:.2f}" for each in figures],
        "whole run, s": [f"{each.total_seconds:.1f}" for each in figures],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def machine() -> str:
    """Return what the figures were measured on."""
    return f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"


def main() -> int:
    """Run both and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.quickstart", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps of each run (default {STEPS})")
    options = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    job = OUTPUT / "job.yaml"
    job.write_text(yaml.safe_dump_all(bench_documents(list(yaml.safe_load_all(QUICKSTART.read_text())), options.steps)))
    try:
        ours = run_ours(job, OUTPUT / "finetune")
        theirs = run_theirs(OUTPUT / "finetune" / ".finetune" / "config.json", OUTPUT / "huggingface")
    except RunFailedError as error:
        print(error, file=sys.stderr)
        return 1
    table = table_of([ours, theirs])
    Console().print(table)
    Console().print(REMARKS)
    (OUTPUT / "quickstart.json").write_text(json.dumps({"machine": machine(), "runs": [ours.to_wire(), theirs.to_wire()]}, indent=1))
    with (OUTPUT / "quickstart.txt").open("w") as stream:
        Console(file=stream, width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
