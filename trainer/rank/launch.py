"""What torch and DeepSpeed expect from the launcher of a rank: variables of the environment, and the number of threads.

Imports torch inside a function: the variables have to be set before. Test: tests/trainer/rank/test_launch.py.
"""

import os


def set_environment(*, rank: int, world_size: int, local_rank: int, local_size: int, gpu: bool) -> None:
    """Set the variables of one rank. `local_size` is the number of ranks on this node; `gpu`: whether the rank has one of its own."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(local_rank), LOCAL_SIZE=str(local_size), LOCAL_WORLD_SIZE=str(local_size)
    )
    if not gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"


def use_threads() -> None:
    """Compute with as many threads as OMP_NUM_THREADS says; call it in the thread that trains.

    The same number in every attempt: floating-point sums depend on how they are split.
    """
    import torch

    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
