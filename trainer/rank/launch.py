"""What torch and DeepSpeed expect from the launcher of a rank: variables of the environment, and the number of threads.

Imports torch inside a function: the variables have to be set before. Test: tests/trainer/rank/test_launch.py.
"""

import gc
import os

OBJECTS_WHILE_LOADING = 50_000
"""New objects after which Python looks for garbage; 700 or 2,000 by itself, where importing torch and transformers makes a million."""
USUAL_THRESHOLDS = gc.get_threshold()
PRELOAD_VARIABLE, DEEPSPEED = "FINETUNE_PRELOAD", "deepspeed"
"""What trainer.rank.preload is to import; empty or not set in processes that will not be ranks."""


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


def collect_rarely() -> None:
    """Look for garbage less often while a rank imports and loads: there is none, and looking takes a tenth of the time."""
    gc.set_threshold(OBJECTS_WHILE_LOADING, 20, 100)


def collect_as_usual() -> None:
    """End `collect_rarely`; no garbage is looked for among what is there by then: modules and the model stay to the end.

    What is garbage already is removed first: frozen, it would stay too, with the tensors that it holds.
    """
    if gc.get_threshold() == USUAL_THRESHOLDS:
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(*USUAL_THRESHOLDS)
