"""Tokens of a data set in memory-mapped files: written once by the driver, read by every rank, row by row.

A shard is a folder: the token ids of all pieces in sequence, one byte per token that says whether it has loss, a table with
one line per piece, and a manifest with sizes and digests, which is written last. Tests: tests/trainer/data/test_shards.py.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from trainer.data.ondisk import array_in
from trainer.data.rows import Piece, Sample

FORMAT = 4
"""Version of the format; part of every shard's key, so that shards of other versions are not found."""
IDS, MASK, TABLE, MANIFEST = "ids.bin", "mask.bin", "table.bin", "manifest.json"
LINE = np.dtype([
    ("id", "S48"), ("row", "<i8"), ("start", "<i8"), ("end", "<i8"), ("offset", "<i8"), ("loss_bytes", "<i8"),
    ("length", "<i4"), ("loss_tokens", "<i4"), ("tail", "<i4"), ("note", "<i4"), ("first", "?"), ("last", "?"), ("truncated", "?"),
])  # fmt: skip
"""A piece: its example's index, its words in the text (end is -1 for the whole), and where its tokens are."""
BUFFERED_LINES = 4096
BLOCK_TOKENS = 1 << 20


class TornShardError(Exception):
    """A shard does not match its manifest, or has none."""


class ShardWriter:
    """Writes a shard into a folder, piece by piece; a context manager that writes the manifest if no error occurred."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self._key = folder, key
        self._files = {name: (folder / name).open("wb") for name in (IDS, MASK, TABLE)}
        self._digests = {name: hashlib.sha256() for name in self._files}
        self._sizes = dict.fromkeys(self._files, 0)
        self._lines: list[tuple[Any, ...]] = []
        self._notes: dict[str, int] = {}
        self._count = self._tokens = self._longest = 0

    def append(self, row: int, piece: Piece[Any]) -> None:
        """Add a piece of the example with index `row`; raises ValueError if its id is too long."""
        sample = piece.tokens
        name, length, mask = sample.id.encode(), len(sample.input_ids), array("b", sample.loss_mask).tobytes()
        if len(name) > LINE["id"].itemsize:
            raise ValueError(f"the id {sample.id!r} is too long")
        end, note = -1 if piece.end is None else piece.end, self._notes.setdefault(piece.note, len(self._notes))
        self._lines.append(
            (name, row, piece.start, end, self._tokens, sample.loss_bytes, length, mask.count(1), sample.tail, note, piece.first,
             piece.last, sample.truncated)
        )  # fmt: skip
        self._write(IDS, array("i", sample.input_ids).tobytes())
        self._write(MASK, mask)
        self._tokens += length
        self._longest = max(self._longest, length)
        self._count += 1
        if len(self._lines) == BUFFERED_LINES:
            self._flush()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with ExitStack() as closing:
            if kind is not None:
                closing.enter_context(suppress(OSError))  # it must not replace the error that came first
            for file in self._files.values():
                closing.callback(file.close)
            if kind is None:
                self._flush()
        if kind is None:
            self._write_manifest()

    def _write_manifest(self) -> None:
        files = {name: {"bytes": self._sizes[name], "sha256": digest.hexdigest()} for name, digest in self._digests.items()}
        counts = {"pieces": self._count, "tokens": self._tokens, "longest": self._longest}
        manifest = {"format": FORMAT, "key": self._key, **counts, "notes": list(self._notes), "files": files}
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    def _flush(self) -> None:
        self._write(TABLE, np.array(self._lines, LINE).tobytes())
        self._lines = []

    def _write(self, name: str, content: bytes) -> None:
        self._files[name].write(content)
        self._digests[name].update(content)
        self._sizes[name] += len(content)


class Shard:
    """A shard on disk. Pickled as its path and sizes; `longest` is the number of tokens of its longest piece, 0 without pieces."""

    def __init__(self, folder: Path, pieces: int, tokens: int, longest: int, notes: Sequence[str] = ()) -> None:
        self.folder, self.pieces, self.tokens, self.longest, self.notes = folder, pieces, tokens, longest, tuple(notes)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the path and the sizes."""
        return {"folder": self.folder, "pieces": self.pieces, "tokens": self.tokens, "longest": self.longest, "notes": self.notes}

    @classmethod
    def open(cls, folder: Path, key: str, *, read: bool = True) -> Shard:
        """Return the shard in a folder; raises TornShardError unless it contains every byte that was written for `key`.

        Without `read`, only the sizes of its files are checked, which takes no time.
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if (manifest["format"], manifest["key"]) != (FORMAT, key):
                raise TornShardError(f"{folder} contains the tokens of other rows")
            for name, written in manifest["files"].items():
                if (folder / name).stat().st_size != written["bytes"] or (read and _digest_of(folder / name) != written["sha256"]):
                    raise TornShardError(f"{folder / name} is not what was written")
            return cls(folder, int(manifest["pieces"]), int(manifest["tokens"]), int(manifest["longest"]), manifest["notes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TornShardError(f"{folder} cannot be read: {error}") from error

    @cached_property
    def table(self) -> NDArray[Any]:
        """One line per piece, with the fields of LINE."""
        return array_in(self.folder / TABLE, LINE, self.pieces)

    @cached_property
    def _ids(self) -> NDArray[np.int32]:
        return array_in(self.folder / IDS, np.dtype("<i4"), self.tokens)

    @cached_property
    def _mask(self) -> NDArray[np.int8]:
        return array_in(self.folder / MASK, np.dtype("i1"), self.tokens)

    def sample(self, index: int) -> Sample:
        """Read the tokens of the piece with this index."""
        line = dict(zip(LINE.names or (), self.table[index].item(), strict=True))
        begin, end = line["offset"], line["offset"] + line["length"]
        ids, mask = array("i", self._ids[begin:end].tobytes()), array("b", self._mask[begin:end].tobytes())
        return Sample(line["id"].decode(), ids, mask, line["loss_bytes"], line["truncated"], line["tail"])

    def token_blocks(self, *, tails: bool = True) -> Iterator[NDArray[np.int32]]:
        """Yield the token ids of all pieces in blocks, with or without the tails that follow what a model reads."""
        if tails:
            yield from (self._ids[start : start + BLOCK_TOKENS] for start in range(0, self.tokens, BLOCK_TOKENS))
            return
        for first in range(0, self.pieces, BUFFERED_LINES):
            lines = self.table[first : first + BUFFERED_LINES]
            lengths = lines["length"].astype(np.int64)
            place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            ids = self._ids[lines["offset"][0] : lines["offset"][0] + len(place)]
            yield ids[place < np.repeat(lengths - lines["tail"], lengths)]


class Samples(Sequence[Sample]):
    """The tokens of a shard's pieces, each read on access."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard

    def __len__(self) -> int:
        return self.shard.pieces

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return Chosen(self, range(len(self))[index])
        return self.shard.sample(range(len(self))[index])


class Pieces(Sequence[Piece[Any]]):
    """The pieces of a shard with the examples they were made from."""

    def __init__(self, shard: Shard, examples: Sequence[Any]) -> None:
        self.shard, self._examples = shard, examples

    @property
    def samples(self) -> Samples:
        """The tokens of these pieces, without their examples."""
        return Samples(self.shard)

    def __len__(self) -> int:
        return self.shard.pieces

    @overload
    def __getitem__(self, index: int) -> Piece[Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Piece[Any]]: ...

    def __getitem__(self, index: int | slice) -> Piece[Any] | Sequence[Piece[Any]]:
        if isinstance(index, slice):
            return Chosen(self, range(len(self))[index])
        index = range(len(self))[index]
        line = self.shard.table[index]
        end = None if line["end"] < 0 else int(line["end"])
        example = self._examples[int(line["row"])]
        return Piece(
            example,
            self.shard.sample(index),
            bool(line["first"]),
            bool(line["last"]),
            int(line["start"]),
            end,
            self.shard.notes[line["note"]],
        )


class Chosen(Sequence[Any]):
    """Some members of a sequence, each read on access."""

    def __init__(self, members: Sequence[Any], places: Sequence[int]) -> None:
        self._members, self._places = members, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Chosen(self._members, self._places[index])
        return self._members[int(self._places[index])]

    def __iter__(self) -> Iterator[Any]:
        return (self._members[int(place)] for place in self._places)


def lengths_of(rows: Sequence[Sample]) -> NDArray[np.int32]:
    """Return the number of tokens of each row; (n,)."""
    return _column(rows, "length", lambda row: len(row.input_ids), np.dtype("<i4"))


def ids_of(rows: Sequence[Sample]) -> NDArray[np.bytes_]:
    """Return the id of each row; (n,). Ids are ASCII, so the bytes sort like the strings."""
    return _column(rows, "id", lambda row: row.id.encode(), LINE["id"])


def by_length(rows: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the indices of the rows sorted by (length, id)."""
    return np.lexsort((ids_of(rows), lengths_of(rows)))


def read_lengths_of(rows: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the number of tokens that the model reads of each row; (n,)."""
    return lengths_of(rows).astype(np.int64) - tails_of(rows)


def tails_of(rows: Sequence[Sample]) -> NDArray[np.int32]:
    """Return the number of tokens of each row that follow what the model reads; (n,)."""
    return _column(rows, "tail", lambda row: row.tail, np.dtype("<i4"))


def loss_tokens_of(rows: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the number of tokens with loss of each row; (n,)."""
    return _column(rows, "loss_tokens", lambda row: sum(row.loss_mask), np.dtype("<i8"))


def truncated_of(rows: Sequence[Sample]) -> NDArray[np.bool_]:
    """Return whether each row is truncated; (n,)."""
    return _column(rows, "truncated", lambda row: row.truncated, np.dtype("?"))


def token_blocks(rows: Sequence[Sample], *, tails: bool = True) -> Iterator[NDArray[np.int32]]:
    """Yield the token ids of all rows in blocks, which need not begin where rows do; with or without the tails of targets."""
    if isinstance(rows, Samples):
        yield from rows.shard.token_blocks(tails=tails)
    else:
        yield from (np.array(row.input_ids if tails else row.read, np.int32) for row in rows)


def notes_of(pieces: Sequence[Piece[Any]]) -> tuple[Sequence[str], NDArray[np.int32]]:
    """Return the different notes of pieces, and which of them each piece has; (n,)."""
    if isinstance(pieces, Pieces):
        return pieces.shard.notes, np.ascontiguousarray(pieces.shard.table["note"])
    numbers: dict[str, int] = {}
    which = np.array([numbers.setdefault(piece.note, len(numbers)) for piece in pieces], np.int32)
    return tuple(numbers), which


def loss_bytes_of(rows: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the UTF-8 bytes of the text of each row's tokens with loss; (n,)."""
    return _column(rows, "loss_bytes", lambda row: row.loss_bytes, np.dtype("<i8"))


def examples_of(rows: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the index of the example that each row was made from; (n,)."""
    if isinstance(rows, Samples):
        return np.ascontiguousarray(rows.shard.table["row"])
    bases = [row.id.partition("/")[0] for row in rows]  # the pieces of a text are its id/0, id/1 and so on
    return np.cumsum([False, *(one != other for one, other in pairwise(bases))]) if bases else np.zeros(0, np.int64)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _column(rows: Sequence[Sample], name: str, value: Any, kind: np.dtype[Any]) -> NDArray[Any]:
    if isinstance(rows, Samples):
        return np.ascontiguousarray(rows.shard.table[name])
    return np.array([value(row) for row in rows], kind)


def write_shard(folder: Path, key: str, pieces: Iterable[tuple[int, Piece[Any]]]) -> None:
    """Write a shard of pieces, each given with the index of its example."""
    with ShardWriter(folder, key) as writer:
        for row, piece in pieces:
            writer.append(row, piece)
