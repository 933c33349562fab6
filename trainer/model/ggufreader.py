"""Reads GGUF files: their metadata, and their tensors as float32. For the types of blocks in the files that we read, no others.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Needs numpy alone, because torch and the gguf package are
slow to import, and the latter takes seconds to parse a vocabulary. Test: tests/trainer/model/test_ggufreader.py.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MAGIC, VERSIONS = b"GGUF", (2, 3)
ALIGNMENT = 32
"""Where tensors begin, in bytes, unless the file says otherwise."""
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
PART = 1 << 13
"""Blocks that are dequantized at once: few enough for the processor's cache."""

Q4_1 = np.dtype([("scale", "<f2"), ("least", "<f2"), ("halves", "u1", 16)])
Q8_0 = np.dtype([("scale", "<f2"), ("numbers", "i1", 32)])


def _from_q4_1(blocks: NDArray[Any], numbers: Floats) -> None:
    """Byte i of a block holds numbers i and i + 16, in its lower and upper half."""
    np.bitwise_and(blocks["halves"], 15, out=numbers[:, :16], casting="unsafe")
    np.right_shift(blocks["halves"], 4, out=numbers[:, 16:], casting="unsafe")
    numbers *= blocks["scale"].astype(np.float32)[:, None]
    numbers += blocks["least"].astype(np.float32)[:, None]


def _from_q8_0(blocks: NDArray[Any], numbers: Floats) -> None:
    numbers[:] = blocks["numbers"]
    numbers *= blocks["scale"].astype(np.float32)[:, None]


@dataclass(frozen=True)
class Kind:
    """How numbers are stored: in blocks of `numbers`, which `read` writes into rows of float32."""

    name: str
    block: np.dtype[Any]
    numbers: int
    read: Callable[[NDArray[Any], Floats], None] | None = None


KINDS = {
    0: Kind("F32", np.dtype("<f4"), 1),
    3: Kind("Q4_1", Q4_1, 32, _from_q4_1),
    8: Kind("Q8_0", Q8_0, 32, _from_q8_0),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file; `shape` is that of PyTorch, slowest dimension first."""

    shape: tuple[int, ...]
    kind: Kind
    blocks: NDArray[Any]

    def numbers(self) -> Floats:
        """Return its numbers, bit for bit those of the gguf package."""
        if self.kind.read is None:
            return self.blocks.view(np.float32).reshape(self.shape)
        numbers = np.empty((len(self.blocks), self.kind.numbers), dtype=np.float32)
        for start in range(0, len(self.blocks), PART):
            part = slice(start, start + PART)
            self.kind.read(self.blocks[part], numbers[part])
        return numbers.reshape(self.shape)


@dataclass(frozen=True)
class GgufFile:
    """What a file holds. Its tensors are mapped, not read."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, file: Path) -> "GgufFile":
        """Read all but the numbers; raises ValueError for what is not a GGUF file, or has types that are not in KINDS."""
        with file.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise ValueError(f"{file} is not a GGUF file")
        try:
            return _opened(np.memmap(file, mode="r", dtype=np.uint8))
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is torn: {error}") from error


def _opened(content: NDArray[np.uint8]) -> GgufFile:
    reader = _Reader(content.data, len(MAGIC))
    version, tensors, entries = reader.unpack("IQQ")
    if version not in VERSIONS:
        raise ValueError(f"GGUF version {version} is not one of {VERSIONS}")
    metadata = {reader.string(): reader.value() for _ in range(entries)}
    table = [(reader.string(), reader.dimensions(), *reader.unpack("IQ")) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", ALIGNMENT)
    begin = -(-reader.at // alignment) * alignment
    return GgufFile(metadata, {name: _tensor(content, name, shape, number, begin + at) for name, shape, number, at in table})


def _tensor(content: NDArray[np.uint8], name: str, shape: tuple[int, ...], number: int, start: int) -> StoredTensor:
    kind = KINDS.get(number)
    if kind is None:
        raise ValueError(f"{name} has type {number}, which is not one of {', '.join(known.name for known in KINDS.values())}")
    end = start + math.prod(shape) // kind.numbers * kind.block.itemsize
    if end > len(content):
        raise ValueError(f"{name} ends after the file")
    return StoredTensor(shape, kind, content[start:end].view(kind.block))


class _Reader:
    """The values of a header one after the other, little-endian."""

    def __init__(self, content: memoryview, at: int) -> None:
        self._content, self.at = content, at

    def unpack(self, form: str) -> tuple[Any, ...]:
        layout = struct.Struct(f"<{form}")
        found = layout.unpack_from(self._content, self.at)
        self.at += layout.size
        return found

    def string(self) -> str:
        (length,) = self.unpack("Q")
        self.at += length
        return str(self._content[self.at - length : self.at], "utf-8")

    def value(self) -> Any:
        (kind,) = self.unpack("I")
        return next(self._values(kind, 1)) if kind != ARRAY else self._array()

    def dimensions(self) -> tuple[int, ...]:
        (count,) = self.unpack("I")
        return self.unpack(f"{count}Q")[::-1]

    def _array(self) -> list[Any]:
        kind, count = self.unpack("IQ")
        return list(islice(self._values(kind, count), count))

    def _values(self, kind: int, count: int) -> Iterator[Any]:
        if kind in SCALARS:
            yield from self.unpack(f"{count}{SCALARS[kind]}")
        elif kind == STRING:
            yield from (self.string() for _ in range(count))
        else:
            raise ValueError(f"metadata of type {kind} is not known")
