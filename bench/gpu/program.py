"""`python -m bench.gpu.program NAME …`: one training in a process of its own, ours or a reference; started by bench.gpu.measure.

Ours is the rank's code, called as a worker calls it, without Ray: trainer.rank.run with a sender that drops what it is given.
Test: tests/bench/gpu/test_measure.py.
"""

import argparse
import importlib
import json
import logging
from pathlib import Path

import torch

from bench.references.__main__ import PROGRAMS
from bench.references.work import work_of
from finetune.api.trainconfig import TrainConfig
from finetune.system.memory import peak_bytes
from trainer.data.datafolder import DataFolder
from trainer.preflight.inputs import check_inputs
from trainer.rank.assignment import Assignment
from trainer.rank.run import execute
from trainer.reporting.messages import Silent
from trainer.storage.ownership import Ownership

OURS = "ours"
MEMORY = "memory.json"


def train_ours(config: TrainConfig) -> None:
    """Train as one rank, to the report."""
    folder = Path(config.output.directory) / ".data"
    data = DataFolder(folder, folder / "start-0")
    inputs = check_inputs(config, data, rehearse_here=True).with_tokens(config, data)
    ownership = Ownership.of(config, inputs.digests(config))
    ownership.write(finished=False)
    execute(Assignment(config, inputs, ownership.owner, Silent()))


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most that this process had allocated: of the card, or of the host where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()


def main() -> None:
    """Train, and write the peak of memory beside the lines of the steps."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.program", description=__doc__)
    parser.add_argument("name", choices=[OURS, *PROGRAMS])
    parser.add_argument("--config", type=Path, required=True, help="TrainConfig as JSON")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--packed", action="store_true")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    config, device = TrainConfig.model_validate_json(options.config.read_text()), torch.device(options.device)
    if options.name == OURS:
        train_ours(config)
    else:
        work = work_of(config, options.output, packed=options.packed, device=device, bfloat16=True)
        importlib.import_module(PROGRAMS[options.name]).train(work)
    (options.output / MEMORY).write_text(json.dumps({"peakMemoryBytes": peak_memory_bytes(device)}))


if __name__ == "__main__":
    main()
