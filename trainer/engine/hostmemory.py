"""Memory of the host that a training state is copied into, so that it can be written while training changes it.

It is allocated once and used for every checkpoint. Test: tests/trainer/engine/test_hostmemory.py.
"""

import logging
import weakref
from contextlib import suppress

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class HostMemory:
    """Room for `elements` float32 numbers; `pinned`, a GPU copies into it at full speed. RuntimeError if there is not so much memory."""

    def __init__(self, elements: int, *, pinned: bool = False) -> None:
        self._memory, self._used = torch.empty(elements), 0
        self._pinned = pinned and elements > 0 and _pin(self._memory)

    def rewind(self) -> None:
        """Use the memory again: earlier copies are overwritten from now on."""
        self._used = 0

    def keep(self, tensor: Tensor) -> Tensor:
        """Return a copy in float32. That of a tensor on a GPU is there after `wait`, or at once where the memory is not pinned."""
        copy = self._memory[self._used : self._used + tensor.numel()].view(tuple(tensor.shape))
        self._used += tensor.numel()
        copy.copy_(tensor.detach(), non_blocking=self._pinned)
        return copy

    def wait(self) -> None:
        """Return when all copies are there."""
        if self._pinned:
            torch.cuda.current_stream().synchronize()


def _pin(memory: Tensor) -> bool:
    """Have the driver keep the memory in place; return whether it does. That it does not is no error for what comes next.

    torch's `pin_memory=True` would take up to twice as much as it is asked for.
    """
    from torch.cuda._pin_memory_utils import pin_memory, unpin_memory

    try:
        pin_memory(memory.data_ptr(), memory.nbytes)
    except RuntimeError as error:
        logger.warning("checkpoints are copied from the GPU more slowly: %s", error)
        with suppress(RuntimeError):
            torch.ones(1, device="cuda")  # CUDA raises the error again at the next kernel that is started: at this one
        return False
    weakref.finalize(memory, unpin_memory, memory.data_ptr())
    return True
