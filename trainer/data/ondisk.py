"""Opens what is on disk without reading it: files are mapped into memory where the file system allows it.

Where it does not, arrays of numbers are read whole, which is a few bytes a row or token, and rows a batch at a time.
Tests: tests/trainer/data/test_ondisk.py, test_rowstore.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT_BATCHES = 8
"""Batches of rows that are kept in memory if they cannot be mapped, of about 1 MiB each."""


def array_in(path: Path, kind: np.dtype[Any], count: int) -> NDArray[Any]:
    """Return a file of `count` numbers as an array of shape (count,)."""
    if count == 0:
        return np.zeros(0, kind)
    try:
        return np.asarray(np.memmap(path, kind, "r", shape=(count,)))  # a plain array, whose items are read several times as fast
    except OSError:
        return np.fromfile(path, kind, count)


def saved_array(path: Path) -> NDArray[Any]:
    """Return the array that np.save wrote to a file."""
    found: NDArray[Any]
    try:
        found = np.load(path, mmap_mode="r")
    except OSError:
        found = np.load(path)
    return found


def words_column(values: Sequence[str | bytes], kind: Any) -> Any:
    """Return strings or bytes as an Arrow array of type `kind`, without pandas, which pyarrow.array imports: it takes half a second."""
    import pyarrow

    words = [value.encode() if isinstance(value, str) else value for value in values]
    offsets = np.zeros(len(words) + 1, np.int64 if pyarrow.types.is_large_binary(kind) else np.int32)
    np.cumsum([len(word) for word in words], out=offsets[1:])
    return pyarrow.Array.from_buffers(kind, len(words), [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(b"".join(words))])


def numbers_column(values: Sequence[int]) -> Any:
    """Return whole numbers as an Arrow array, without pandas too."""
    import pyarrow

    return pyarrow.Array.from_buffers(pyarrow.int64(), len(values), [None, pyarrow.py_buffer(np.asarray(values, np.int64))])


class Batches:
    """The batches of an Arrow file, each read on access."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[int, Any] = {}

    def __getitem__(self, number: int) -> Any:
        """Return a batch by its number, as a pyarrow.RecordBatch."""
        mapped, reader = self._opened
        found = self._read.get(number)
        if found is None:
            if not mapped and len(self._read) >= KEPT_BATCHES:
                del self._read[next(iter(self._read))]
            found = self._read[number] = reader.get_batch(number)
        return found

    @cached_property
    def _opened(self) -> tuple[bool, Any]:
        """Whether the file is mapped, and its reader."""
        import pyarrow

        try:
            mapped, source = True, pyarrow.memory_map(str(self._path))
        except OSError:
            mapped, source = False, pyarrow.OSFile(str(self._path))
        return mapped, pyarrow.ipc.open_file(source)
