"""`python -m bench.references NAME --config FILE --output FOLDER [--packed]`: one rank of a reference, for one job.

Several ranks are started with torchrun. Test: tests/bench/test_references.py, and the bench itself.
"""

import argparse
import importlib
from pathlib import Path

import torch

from bench.references.work import work_of
from finetune.api.trainconfig import TrainConfig

PROGRAMS = {"bare": "bench.references.bare", "huggingface": "bench.references.huggingface", "trl": "bench.references.sft"}


def main() -> None:
    """Train for the number of steps of the configuration."""
    parser = argparse.ArgumentParser(prog="python -m bench.references", description=__doc__)
    parser.add_argument("name", choices=PROGRAMS)
    parser.add_argument("--config", type=Path, required=True, help="TrainConfig as JSON")
    parser.add_argument("--output", type=Path, required=True, help="an empty folder")
    parser.add_argument("--packed", action="store_true", help="join the rows of a micro-batch instead of padding them")
    options = parser.parse_args()
    program = importlib.import_module(PROGRAMS[options.name])
    config = TrainConfig.model_validate_json(options.config.read_text())
    program.train(work_of(config, options.output, packed=options.packed, device=torch.device("cpu")))


if __name__ == "__main__":
    main()
