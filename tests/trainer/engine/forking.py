"""Runs a program as several ranks that are forked from one process, which has imported for all of them. Not a test.

Started by ranks.py with the program, a folder and numbers of ranks, which it runs one after another; imports take longer than most of
what ranks are asked here. Rank 0 writes to FOLDER/RANKS.json, the program's argument.
"""

import gc
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path

# What engines import when they are made.
import deepspeed.module_inject.auto_ep_layer
import deepspeed.runtime.superoffload.superoffload_stage3  # noqa: F401
import functorch.compile  # noqa: F401
import torch.utils.cpp_extension  # noqa: F401
from deepspeed.runtime.zero import stage3, stage_1_and_2  # noqa: F401

from tests.trainer.engine.ranks import RANKS_SECONDS, environment_of, free_port


def run(program: str, world_size: int, output: Path) -> bool:
    """Run the program as each rank; return whether all ended well. One that fails ends the others, which would wait for it."""
    port = free_port()
    left = {fork(program, rank, world_size, port, output) for rank in range(world_size)}
    well = True

    def end_all(*_: object) -> None:
        nonlocal well
        well = False
        for rank in left:
            os.kill(rank, signal.SIGKILL)

    def end_late(*_: object) -> None:
        print(f"{world_size} ranks did not end within {RANKS_SECONDS} s", file=sys.stderr)
        end_all()

    signal.signal(signal.SIGALRM, end_late)
    signal.alarm(RANKS_SECONDS)
    while left:
        pid, status = os.wait()
        left.discard(pid)
        if status and well:
            end_all()
    signal.alarm(0)
    return well


def fork(program: str, rank: int, world_size: int, port: int, output: Path) -> int:
    """Start one rank and return its process id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        # DeepSpeed looks for garbage several times with every engine, which takes longer than all that a tiny engine does; it is ignored.
        gc.disable()
        setattr(gc, "collect", lambda *_: 0)  # noqa: B010 - mypy lets no function be assigned
        os.environ.update(environment_of(rank, world_size, port))
        sys.argv = [program, str(output)]
        runpy.run_path(program, run_name="__main__")
        code = 0
    except BaseException:
        print(f"rank {rank} of {world_size}:", file=sys.stderr)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(program: str, folder: Path, world_sizes: list[int]) -> int:
    runpy.run_path(program, run_name="imported")
    return 0 if all(run(program, world_size, folder / f"{world_size}.json") for world_size in world_sizes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), [int(number) for number in sys.argv[3:]]))
