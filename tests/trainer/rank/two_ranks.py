"""One of two ranks that shard parameters (ZeRO stage 3): trains, adds a form, and makes deleted results again. Not a test.

Started by test_results.py with RANK and WORLD_SIZE in the environment, in the folder that holds the base and the rows.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import torch.distributed

from tests.trainer.rank.test_results import config, run


def main(folder: Path) -> None:
    sharded = {"workers": {"workers": 2, "deepspeed": {"zeroStage": 3}}}
    torch.distributed.init_process_group("gloo")
    both = config(folder, export=("adapter", "merged"), **sharded)
    for name, wanted, only_results in (("first", config(folder, **sharded), False), ("widened", both, True), ("again", both, True)):
        run(wanted, only_results=only_results)
        torch.distributed.barrier()
        if torch.distributed.get_rank() == 0:
            shutil.copy(folder / "run" / "report.json", folder / f"{name}.json")
            if name == "widened":
                shutil.rmtree(folder / "run" / "model")
                (folder / "run" / "report.json").unlink()
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
