"""The parts of all ranks become whole tensors on rank 0, and a part that is missing is noticed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.engine.gathering import gathered_parts
from trainer.engine.state import StatePart

CPU = torch.device("cpu")
SHAPES = {"weight": (2, 3), "bias": (2,), "scale": (1,)}
WHOLE = {
    group: {name: torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape) + 10 * number for name, shape in SHAPES.items()}
    for number, group in enumerate(("parameters", "exp_avg"))
}
RANGES: list[dict[str, tuple[int, int]]] = [{"weight": (4, 6), "bias": (0, 2)}, {"scale": (0, 1), "weight": (0, 4)}, {}]


def part(ranges: dict[str, tuple[int, int]]) -> StatePart:
    groups = {group: {name: whole[name].view(-1)[begin:end] for name, (begin, end) in ranges.items()} for group, whole in WHOLE.items()}
    return StatePart(SHAPES, ranges, groups)


def on_rank_0(monkeypatch: pytest.MonkeyPatch, ranges: list[dict[str, tuple[int, int]]]) -> dict[str, dict[str, Tensor]]:
    """Run every rank, rank 0 last, with messages that are kept until it takes them."""
    sent: dict[int, list[Tensor]] = {rank: [] for rank in range(len(ranges))}
    rank = 0

    def gather(tensor: Tensor, received: list[Tensor] | None, dst: int) -> None:
        sent[rank].append(tensor.clone())
        for source, place in enumerate(received or ()):
            place.copy_(sent[source][len(sent[rank]) - 1])

    monkeypatch.setattr("torch.distributed.gather", gather)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)

    def all_ranks(_: Any) -> list[Any]:
        return ranges

    for rank in range(1, len(ranges)):
        assert list(gathered_parts(part(ranges[rank]), all_ranks, CPU)) == []
    rank = 0
    found: dict[str, dict[str, Tensor]] = {group: {} for group in WHOLE}
    for group, name, value in gathered_parts(part(ranges[0]), all_ranks, CPU):
        found[group][name] = value
    return found


def test_parts_of_any_order_and_of_a_rank_that_has_none_become_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    found = on_rank_0(monkeypatch, RANGES)
    for group, whole in WHOLE.items():
        assert list(found[group]) == list(SHAPES)
        assert all(torch.equal(found[group][name], value) for name, value in whole.items())


def test_a_part_that_no_rank_has_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="ranks hold 4 of the 6 numbers of weight in parameters"):
        on_rank_0(monkeypatch, [{"bias": (0, 2)}, RANGES[1]])
