"""Whether there is memory for something on the ranks' devices or machines. Test: tests/trainer/engine/test_room.py."""

import socket
from collections.abc import Callable
from typing import Any

import torch

from finetune.system.memory import available_bytes, freed_since_peak_bytes


def has_room(size_bytes: int, memory: torch.device, gather: Callable[[Any], list[Any]], *, trains_on: torch.device) -> bool:
    """Return whether every rank has memory for as many bytes as it asks for, on a device or (`cpu`) on its machine; the same on all.

    `gather` returns what all ranks give it, in the same order on each; all must call this. Ranks on one machine share what it has left.
    What one had at its peak on the CPU is left free where it trains there, for the next step. Memory that is not known is enough.
    """
    if memory.type == "cuda":
        unused = torch.cuda.memory_reserved(memory) - torch.cuda.memory_allocated(memory)
        return all(gather(size_bytes <= torch.cuda.mem_get_info(memory)[0] + unused))
    growth = freed_since_peak_bytes() if trains_on.type == "cpu" else 0
    asked: list[tuple[str, int, int | None]] = gather((socket.gethostname(), size_bytes + growth, available_bytes()))
    return all(
        available is None or sum(needed for other, needed, _ in asked if other == machine) <= available for machine, _, available in asked
    )
