"""How the worker processes of Ray Train become ranks that can reach each other, and how they part.

What starts the worker group calls this in every worker, before `train_worker` and after it. Imports torch inside functions: the process
of Ray Train's control loop imports this module too, and locally that is the driver. Test: tests/trainer/rank/test_run.py (real Ray).
"""

import os
from datetime import timedelta

from trainer.rank.launch import set_environment

NCCL, GLOO = "nccl", "gloo"
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others in a collective operation."""


def join_process_group(address: str, port: int, backend: str) -> None:
    """Meet the other ranks at an address of rank 0; returns when all are there."""
    import ray.train

    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    local_rank, local_size = context.get_local_rank(), context.get_local_world_size()
    set_environment(rank=rank, world_size=world_size, local_rank=local_rank, local_size=local_size, gpu=backend == NCCL)
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
    import torch.distributed

    torch.distributed.init_process_group(backend, rank=rank, world_size=world_size, timeout=PATIENCE)


def take_device() -> None:
    """Have this thread use the GPU of its rank; Ray Train shows a rank the GPUs of all ranks on its node, in one order."""
    import torch

    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


def leave_process_group() -> None:
    """Give up the connections to the other ranks."""
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
