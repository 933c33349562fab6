"""Brings the parts of a sharded training state together on rank 0, in one message of each rank for each group, however many
parameters there are.

Test: tests/trainer/engine/test_gathering.py.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from trainer.engine.state import StatePart


def gathered_parts(part: StatePart, gather: Callable[[Any], list[Any]], device: torch.device) -> Iterator[tuple[str, str, Tensor]]:
    """Yield group, parameter name and whole tensor (float32) on rank 0 of the process group, nothing on others; all ranks must iterate.

    `part` is this rank's, `gather` returns a value of every rank to all, and tensors travel from `device` to `device`, where rank 0 needs
    memory for one whole group at a time, and for one tensor more.
    """
    ranges: list[dict[str, tuple[int, int]]] = gather(dict(part.ranges))
    longest = max(sum(end - begin for begin, end in own.values()) for own in ranges)
    for group, own_tensors in part.groups.items():
        received = _received(list(own_tensors.values()), longest, len(ranges), device)
        if not received:
            continue
        pieces: dict[str, list[tuple[int, Tensor]]] = {name: [] for name in part.shapes}
        for own, sent in zip(ranges, received, strict=True):
            at = 0
            for name, (begin, end) in own.items():
                pieces[name].append((begin, sent[at : at + end - begin]))
                at += end - begin
        for name, shape in part.shapes.items():
            whole = torch.cat([piece for _, piece in sorted(pieces[name], key=lambda found: found[0])])
            if whole.numel() != math.prod(shape):
                raise RuntimeError(f"ranks hold {whole.numel()} of the {math.prod(shape)} numbers of {name} in {group}")
            yield group, name, whole.view(shape)


def _received(tensors: list[Tensor], longest: int, ranks: int, device: torch.device) -> list[Tensor]:
    """Send tensors end to end, filled up to `longest`; return those of all ranks on rank 0, nothing on others."""
    filling = torch.zeros(longest - sum(tensor.numel() for tensor in tensors), device=device)
    sent = torch.cat([*(tensor.to(device) for tensor in tensors), filling])
    received = [torch.empty_like(sent) for _ in range(ranks)] if torch.distributed.get_rank() == 0 else []
    torch.distributed.gather(sent, received or None, dst=0)
    return received
