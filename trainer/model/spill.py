"""Weights that wait to be written, kept in a file in place of memory, so that an export needs no second model in memory.

The file loses its name at once and is gone with the tensor. It is mapped without a descriptor: a model has more tensors than a
process may have open files. Its pages are the kernel's to write out and take back, so they do not count where a
pod's memory is short; the price is disk, as much as the model takes, until it is written. Test: tests/trainer/model/test_spill.py.
"""

import ctypes
import tempfile
from pathlib import Path

import torch
from torch import Tensor

TRIM_EVERY = 64 * 2**20
"""Bytes after which freed memory is given back. glibc keeps what tensors below 32 MiB had: 400 MB after a model of 418 MB was merged."""


class Spill:
    """Moves tensors into files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._since_trim = folder, 0

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the same type, shape and values, on the CPU, whose memory is a file.

        Raises OSError when the disk takes no more: it is written before it is mapped, because what fails later kills the process.
        """
        if not tensor.numel():
            return tensor
        content = tensor.detach().to("cpu").contiguous()
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(content.view(-1).view(torch.uint8).numpy().data)
            file.flush()
            mapped = torch.from_file(file.name, shared=True, size=content.numel(), dtype=content.dtype)
        self._since_trim += content.nbytes
        if self._since_trim >= TRIM_EVERY:
            give_back_freed_memory()
            self._since_trim = 0
        return mapped.view(content.shape)


def give_back_freed_memory() -> None:
    """Have the C library return to the system what was freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl and macOS have none
    if trim is not None:
        trim(0)
