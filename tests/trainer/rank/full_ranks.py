"""One of two ranks that train all weights with a sharded state: in one go, stopped and resumed, and resumed under another stage.

Started by test_full_ranks.py as a program with RANK and WORLD_SIZE in the environment. Not a test.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch.distributed
from safetensors.torch import load_file

from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import write_rows
from tests.trainer.fixtures.stored import data_folder
from tests.trainer.rank.joined import NAMES, joined
from tests.trainer.rank.test_resume import Driver
from trainer.preflight.inputs import check_inputs
from trainer.rank.assignment import Assignment
from trainer.rank.run import execute

STEPS, STOP_AT = 8, 3


def run(folder: Path, output: str, stage: int, stop_at: int | None = None) -> None:
    """Take a run to its end, or to the stop; in `output` it goes on from what lies there."""
    config = train_config(
        folder,
        data={name: [{"path": str(folder / f"{name}.jsonl")}] for name in NAMES},
        method={"full": {}},
        training={"maxSteps": STEPS, "globalBatchSize": 4, "microBatchSize": 2, "learningRate": 0.003, "maxSequenceLength": 128},
        checkpoint={"everySteps": 1, "keep": 9},
        evaluation={"everySteps": 4, "metrics": ["perplexity"]},
        workers={"workers": 2, "deepspeed": {"zeroStage": stage}},
        output={"directory": str(folder / output)},
        progress={"file": str(folder / output / "progress.json")},
    )
    rank = torch.distributed.get_rank()
    (folder / output).mkdir(exist_ok=True)
    data = data_folder(folder / output / f".finetune-{rank}")
    execute(Assignment(config, check_inputs(config, data, rehearse_here=True).with_tokens(config, data), "owner", Driver(stop_at)))
    torch.distributed.barrier()


def prepare(folder: Path) -> None:
    """Write the base model and the rows."""
    tiny_learner(folder / "model")
    for offset, (name, count) in enumerate(zip(NAMES, (24, 3, 3), strict=True)):
        write_rows(folder / f"{name}.jsonl", count, offset=100 * offset)


def main(output: Path) -> None:
    folder = output.parent
    with joined(lambda: prepare(folder)) as first:
        run(folder, "unbroken", 3)
        for name, stage in (("broken", 3), ("moved", 2)):
            run(folder, name, 3, STOP_AT)
            run(folder, name, stage)
        if first:
            output.write_text(json.dumps(seen(folder)))


def seen(folder: Path) -> dict[str, Any]:
    """Return how far the weights are apart, where the runs went on from, and what the parts of a checkpoint are called."""
    weights = {name: load_file(folder / name / "model" / "merged" / "model.safetensors") for name in ("unbroken", "broken", "moved")}
    expected = weights["unbroken"]
    apart = {name: max(float((found[key] - expected[key]).abs().max()) for key in expected) for name, found in weights.items()}
    reports = {name: json.loads((folder / name / "report.json").read_text()) for name in weights}
    resumed = {name: report["training"]["resumedFromStep"] for name, report in reports.items()}
    files = sorted(path.name for path in (folder / "broken" / "checkpoints" / "step-8").glob("parameters*"))
    return {"apart": apart, "resumed": resumed, "files": files}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
