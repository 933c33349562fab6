"""Memory of the host that a GPU copies into. Needs a card: on a CPU nothing is pinned."""

import pytest
import torch
from torch.cuda import _pin_memory_utils
from torch.cuda._pin_memory_utils import pin_memory, unpin_memory

from tests.gpu.training import DEVICE, ON_DEVICE
from trainer.engine.hostmemory import HostMemory

pytestmark = [*ON_DEVICE, pytest.mark.skipif(DEVICE == "cpu", reason="a CPU pins nothing")]


def test_pinned_memory_holds_what_was_on_the_device_when_it_was_copied() -> None:
    memory, weight = HostMemory(2**20, pinned=True), torch.ones(2**20, device=DEVICE)
    copy = memory.keep(weight)
    weight.zero_()
    memory.wait()
    assert bool((copy == 1).all())


def test_memory_that_cannot_be_pinned_is_used_as_it_is_and_the_next_kernel_meets_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(address: int, size: int) -> None:
        pin_memory(address, size)
        try:
            pin_memory(address, size)  # the driver refuses what it keeps in place already
        finally:
            unpin_memory(address)

    weight = torch.ones(2**20, device=DEVICE)
    monkeypatch.setattr(_pin_memory_utils, "pin_memory", refused)
    memory = HostMemory(2**20, pinned=True)
    assert "copied from the GPU more slowly" in caplog.text
    assert float((weight * 2).sum()) == 2**21
    copy = memory.keep(weight)
    weight.zero_()
    assert bool((copy == 1).all())
