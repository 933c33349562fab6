"""Copies of a state in memory that is used again."""

import pytest
import torch

from trainer.engine import hostmemory
from trainer.engine.hostmemory import HostMemory


def test_copies_are_in_float32_and_do_not_change_with_what_was_copied() -> None:
    memory = HostMemory(7)
    weight, slot = torch.full((2, 3), 0.5, dtype=torch.bfloat16), torch.ones(1)
    copies = [memory.keep(weight), memory.keep(slot)]
    weight.zero_()
    slot.zero_()
    assert [copy.tolist() for copy in copies] == [[[0.5] * 3] * 2, [1.0]]
    assert {copy.dtype for copy in copies} == {torch.float32}


@pytest.mark.parametrize("pinned", [True, False])
def test_only_pinned_memory_is_copied_into_without_waiting(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    monkeypatch.setattr(hostmemory, "_pin", lambda _: pinned)
    asked: list[bool] = []
    monkeypatch.setattr(torch.Tensor, "copy_", lambda self, other, non_blocking: asked.append(non_blocking))
    HostMemory(1, pinned=True).keep(torch.ones(1))
    assert asked == [pinned]


def test_the_same_memory_takes_the_next_state() -> None:
    memory = HostMemory(3)
    first = memory.keep(torch.zeros(3))
    memory.rewind()
    assert memory.keep(torch.ones(3)).data_ptr() == first.data_ptr()
