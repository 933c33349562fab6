"""The tensors of a checkpoint: whole ones, a file for each group, or the parts that several ranks have written, read alike.

Whole: `parameters.safetensors`. In parts: `parameters-1-of-2.safetensors` holds, by name, ranges of flattened parameters, and
`parts.json` says which. What is asked for is read into memory of its own, and nothing else: a mapped file would count as the
memory of whoever reads it. Test: tests/trainer/storage/test_tensors.py.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

TENSORS, PARTS_FILE = ".safetensors", "parts.json"
Groups = Mapping[str, Mapping[str, Tensor]]
"""Tensors, float32, by group and name: the trained parameters, and the optimizer's slots."""
Range = tuple[int, int]
"""Begin and end in a flattened tensor."""


class Part(Protocol):
    """What one rank has of the tensors."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of all whole tensors, by name; they are the same in each group."""

    @property
    def ranges(self) -> Mapping[str, Range]:
        """What this rank has, by name."""

    @property
    def groups(self) -> Groups:
        """The ranges by group and name, in one dimension."""


def part_file(group: str, rank: int, world_size: int) -> str:
    """Return the name of the file that a rank writes its part of a group to."""
    return f"{group}-{rank + 1}-of-{world_size}{TENSORS}"


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file of tensors; raises OSError when the disk fails. Takes no memory for those on the CPU."""
    try:
        save_file(dict(tensors), file)
    except SafetensorError as error:  # this is how safetensors reports a full disk
        raise OSError(f"{file} cannot be written: {error}") from error


def write_table(folder: Path, shapes: Mapping[str, tuple[int, ...]], ranges: list[Mapping[str, Range]]) -> None:
    """Write which ranges each rank has. Raises ValueError unless those of all ranks cover each tensor exactly once."""
    for name, shape in shapes.items():
        end = 0
        for begin, until in sorted(own[name] for own in ranges if name in own):
            if begin != end:
                raise ValueError(f"the ranks have no part, or two, of {name} from {min(begin, end)} on")
            end = until
        if end != math.prod(shape):
            raise ValueError(f"the ranks have {end} elements of {name}, which has {math.prod(shape)}")
    (folder / PARTS_FILE).write_text(json.dumps({"shapes": shapes, "ranges": ranges}), encoding="utf-8")


class SavedTensors:
    """The tensors in a checkpoint's folder, read in ranges. They were verified: what does not fit raises ValueError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> Mapping[str, list[str]]:
        """Return the names of the tensors in each group."""
        return {group: list(self.shapes(group)) for group in self._groups}

    def shapes(self, group: str) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each whole tensor of a group."""
        if self._table is not None:
            return self._table.shapes
        return {name: entry.shape for name, entry in self._groups[group][0].entries.items()}

    def read(self, group: str, name: str, begin: int, end: int) -> Tensor:
        """Return the elements from `begin` to `end` of a flattened tensor, in one dimension, float32."""
        found = torch.empty(end - begin)
        for file, first, last in self._files(group, name):
            low, high = max(begin, first), min(end, last)
            if low < high:
                file.read_into(found[low - begin : high - begin], name, low - first)
        return found

    def whole(self, group: str) -> dict[str, Tensor]:
        """Return all tensors of a group, whole."""
        return {name: self.read(group, name, 0, math.prod(shape)).view(shape) for name, shape in self.shapes(group).items()}

    def one_by_one(self, group: str) -> Mapping[str, Tensor]:
        """Return all tensors of a group, whole; each is read when it is asked for, every time."""
        return _Unread(self, group, self.shapes(group))

    @cached_property
    def _table(self) -> "_Table | None":
        if not (self._folder / PARTS_FILE).exists():
            return None
        table = json.loads((self._folder / PARTS_FILE).read_text(encoding="utf-8"))
        shapes = {name: tuple(shape) for name, shape in table["shapes"].items()}
        return _Table(shapes, [{name: (begin, end) for name, (begin, end) in own.items()} for own in table["ranges"]])

    @cached_property
    def _groups(self) -> dict[str, list["_File"]]:
        """Return the files of each group; of ranks in their order."""
        if self._table is None:
            return {path.stem: [_File(path)] for path in sorted(self._folder.glob(f"*{TENSORS}"))}
        count = len(self._table.ranges)
        last = part_file("", count - 1, count)
        groups = sorted(path.name.removesuffix(last) for path in self._folder.glob(f"*{last}"))
        return {group: [_File(self._folder / part_file(group, rank, count)) for rank in range(count)] for group in groups}

    def _files(self, group: str, name: str) -> Iterator[tuple["_File", int, int]]:
        """Yield the files that have a part of a tensor, and begin and end of it."""
        files = self._groups[group]
        if self._table is None:
            yield files[0], 0, math.prod(files[0].entries[name].shape)
            return
        yield from ((file, *own[name]) for file, own in zip(files, self._table.ranges, strict=True) if name in own)


@dataclass(frozen=True)
class _Unread(Mapping[str, Tensor]):
    """Tensors of a group that take no memory until they are asked for."""

    saved: SavedTensors
    group: str
    shapes: Mapping[str, tuple[int, ...]]

    def __getitem__(self, name: str) -> Tensor:
        shape = self.shapes[name]
        return self.saved.read(self.group, name, 0, math.prod(shape)).view(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@dataclass(frozen=True)
class _Table:
    shapes: Mapping[str, tuple[int, ...]]
    ranges: list[dict[str, Range]]
    """By rank."""


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    offset: int
    """In bytes from the beginning of the file."""


@dataclass(frozen=True)
class _File:
    """A safetensors file of float32 tensors: eight bytes with the length of the header, the header in JSON, the tensors."""

    path: Path

    @cached_property
    def entries(self) -> dict[str, _Entry]:
        with self.path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > self.path.stat().st_size - 8:  # of another file it may be more than any memory
                raise ValueError(f"{self.path} is not a safetensors file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        if any(entry["dtype"] != "F32" for entry in header.values()):
            raise ValueError(f"{self.path} has tensors that are not float32")
        return {name: _Entry(tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]) for name, entry in header.items()}

    def read_into(self, target: Tensor, name: str, begin: int) -> None:
        """Fill `target`, which is contiguous, with the elements from `begin` on."""
        with self.path.open("rb") as stream:
            stream.seek(self.entries[name].offset + begin * target.element_size())
            if stream.readinto(target.numpy().data.cast("B")) != target.nbytes:
                raise ValueError(f"{self.path} ends before {name} does")
