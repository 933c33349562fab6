"""Passes a value from rank 0 to the others, who may wait for it for hours: rank 0 exports, digests and verifies alone.

A collective has a time limit, by which it notices that a rank is lost. Here the ranks ask the store of the process group instead.
It is in rank 0's process, so that they notice its end at once, and nothing limits how long it works: rank 0 must outlive the readers.
Test: tests/trainer/engine/test_patience.py.
"""

import itertools
import pickle
from datetime import timedelta
from typing import Any

import torch.distributed

TURN = timedelta(minutes=10)
"""How long one request waits; torch logs a warning when it ends without a value. A machine that is gone is noticed at the next."""

_numbers = itertools.count()
"""Of this process, not of an engine: all ranks count alike, and a second engine must not find the values of the first."""


def from_rank_0(value: Any, rank: int, world_size: int) -> Any:
    """Return rank 0's value on every rank; it must be small, and all ranks must call this in the same order.

    Raises torch.distributed.DistNetworkError on the other ranks when rank 0's process has ended, even if it had given the value:
    its store is gone with it.
    """
    store, key = torch.distributed.distributed_c10d._get_default_store(), f"finetune/{next(_numbers)}"
    if rank == 0:
        store.set(key, pickle.dumps(value))  # type: ignore[arg-type]  # it takes bytes, whatever its stub says
        return value
    while True:
        try:
            store.wait([key], TURN)
            break
        except torch.distributed.DistStoreError:  # the turn is over
            continue
    found = pickle.loads(store.get(key))  # noqa: S301 - rank 0 pickled it
    if store.add(f"{key}/read", 1) == world_size - 1:
        store.delete_key(key)
        store.delete_key(f"{key}/read")
    return found
