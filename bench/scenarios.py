"""What is measured: jobs made of the quickstart, and the programs that do them. Test: tests/bench/test_scenarios.py."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.comparison import OURS

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "manifests" / "samples" / "quickstart.yaml"
NEVER = 1_000_000
LEARNING_RATES = {"lora": 2e-4, "full": 2e-5}
"""Lower than the quickstart's. At that one, full fine-tuning diverges, and so few LoRA steps move the loss so far that programs which draw
different dropout masks could no longer be told from programs that compute something else."""


@dataclass(frozen=True)
class Scenario:
    """One way to train the quickstart's model on the quickstart's rows."""

    name: str
    full: bool = False
    packed: bool = False
    workers: int = 1
    without: tuple[str, ...] = ()
    """Labels of references that are not measured, so that a whole bench stays within its time."""


REFERENCES = {"bare": "bare loop", "huggingface": "HF Trainer", "trl": "TRL SFTTrainer"}
"""By the names that bench.references knows."""
TRL = (REFERENCES["trl"],)
"""Its loop is that of HF's Trainer, which it derives from: one scenario of each kind of batch shows what it adds."""
SCENARIOS = (
    Scenario("LoRA padded"),
    Scenario("LoRA packed", packed=True),
    Scenario("full padded", full=True, without=TRL),
    Scenario("full packed", full=True, packed=True, without=TRL),
    Scenario("LoRA padded, two workers", workers=2, without=TRL),
)


@dataclass(frozen=True)
class Size:
    """How much is trained in each run."""

    steps: int
    batch: int
    """Rows of a step; half of them make a micro-batch of one worker."""


WHOLE = Size(steps=6, batch=8)
QUICK = Size(steps=4, batch=4)


def references_here() -> tuple[dict[str, str], list[str]]:
    """Return the references that can be run, and a line for each that cannot."""
    if importlib.util.find_spec("trl") is not None:
        return dict(REFERENCES), []
    without = {name: label for name, label in REFERENCES.items() if name != "trl"}
    return without, ["TRL SFTTrainer is not measured: trl is not installed (make setup installs it)"]


def job_documents(documents: Sequence[dict[str, Any]], scenario: Scenario, size: Size) -> list[dict[str, Any]]:
    """Return the quickstart's documents with a job that does what the references can do too, and nothing else.

    No augmentation, no smoothing, no dropout on blocks, no held-out rows to measure, a constant learning rate, and
    DistributedDataParallel for two workers.
    """
    [job] = [document for document in documents if document["kind"] == "FineTuneJob"]
    spec = {name: section for name, section in job["spec"].items() if name not in ("augmentation", "evaluation")}
    training = {
        **spec["training"], "maxSteps": size.steps, "globalBatchSize": size.batch, "microBatchSize": size.batch // 2,
        "precision": "float32", "scheduler": "constant", "warmupRatio": 0,
        "packing": "always" if scenario.packed else "never",
        "learningRate": LEARNING_RATES["full" if scenario.full else "lora"],
    }  # fmt: skip
    spec |= {
        "data": {"train": spec["data"]["train"]},
        "method": {"full": {}} if scenario.full else spec["method"],
        "training": training,
        "regularization": {"weightDecay": spec["regularization"]["weightDecay"]},
        "distributed": {"workers": scenario.workers},
        "checkpoint": {"everySteps": NEVER},
        "output": {**spec["output"], "export": ["merged" if scenario.full else "adapter"]},
    }
    return [{**job, "spec": spec} if document is job else document for document in documents]


def command_of_ours(job: Path, output: Path) -> list[str]:
    """Return the command of the product."""
    return [sys.executable, "-m", "finetune.cli", "run", str(job), "--output", str(output), "--overwrite"]


def command_of(reference: str, scenario: Scenario, config: Path, output: Path) -> list[str]:
    """Return the command of a reference: one process, or torchrun with one for each worker."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(scenario.workers)] if scenario.workers > 1 else []
    options = ["--config", str(config), "--output", str(output), *(["--packed"] if scenario.packed else [])]
    return [sys.executable, *launch, "-m", "bench.references", reference, *options]


def programs(references: dict[str, str]) -> list[str]:
    """Return the labels of all programs in the order of their runs, ours first: it leaves the configuration for the others."""
    return [OURS, *references.values()]
