"""How threads beside training talk to those of other ranks: over a process group of their own, so that no collective of training
depends on which thread is first. Test: tests/trainer/engine/test_state_parts.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed

PATIENCE = timedelta(days=1)
"""How long a rank waits for another one, which may write to a slow disk. One whose process has ended is noticed at once."""


@dataclass
class RanksAside:
    """The ranks, for one thread of each."""

    rank: int
    world_size: int
    group: Any
    """None for one rank alone."""

    @classmethod
    def of(cls, rank: int, world_size: int) -> "RanksAside":
        """Return them with a new group on the CPU. All ranks must call it."""
        group: Any = torch.distributed.new_group(backend="gloo", timeout=PATIENCE) if world_size > 1 else None
        return cls(rank, world_size, group)

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all ranks, in float64, on every rank. RuntimeError when one of them has ended."""
        tensor = torch.tensor(values, dtype=torch.float64)
        if self.group is not None:
            torch.distributed.all_reduce(tensor, group=self.group)
        return [float(value) for value in tensor.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks in rank order, on every rank. RuntimeError when one of them has ended."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value, self.group)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        return self.gather(value)[0]
