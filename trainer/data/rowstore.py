"""Keeps all rows of a job in a memory-mapped Arrow file: millions of rows take hardly any private memory.

The driver writes the file in batches while it reads the sources; a reader decodes only the rows it needs. Next to it are two
digests and the size of each row, so that duplicates, leakage and splits are found without reading a row again. A store is
pickled as its path: the driver and all ranks must see the folder at the same path, like the output folder that contains
it. If the file system cannot map files, rows are read a batch at a time instead, which is slower.
Tests: tests/trainer/data/test_rowstore.py.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from trainer.data.digests import HALF, Digests, collect, digest
from trainer.data.ondisk import Batches, array_in, numbers_column, saved_array, words_column
from trainer.data.rows import Example

BATCH_BYTES = 1 << 20
BATCH_ROWS = 4096
ROWS, STARTS, CONTENTS, PROMPTS, SIZES = "rows.arrow", "starts.bin", "contents.bin", "prompts.bin", "sizes.bin"
SIZE_TYPE = np.dtype("<i8")
Places = NDArray[np.int64]


class RowWriter:
    """Writes a store row by row; a context manager that closes the files in any case."""

    def __init__(self, folder: Path) -> None:
        import pyarrow

        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.count = folder, 0
        self._kind: type[Example] | None = None
        self._arrow = pyarrow
        names = [("id", pyarrow.string()), ("origin", pyarrow.string()), ("content", pyarrow.large_binary())]
        self._schema = pyarrow.schema(names)
        self._file = pyarrow.OSFile(str(folder / ROWS), "wb")
        self._writer = pyarrow.ipc.new_file(self._file, self._schema)
        self._starts, *self._digests = [(folder / name).open("wb") for name in (STARTS, CONTENTS, PROMPTS, SIZES)]
        self._forget()

    def append(self, example: Example) -> None:
        """Add a row; raises TypeError if its class differs from that of earlier rows."""
        self._kind = self._kind or type(example)
        if type(example) is not self._kind:
            raise TypeError(f"a store of {self._kind.__name__} takes no {type(example).__name__}")
        content = content_of(example)
        contents, prompts, sizes = self._digests
        contents.write(digest(content))
        prompts.write(bytes.fromhex(example.prompt_key))
        sizes.write(struct.pack("<qq", *example.text_size))
        for column, value in zip(self._columns, (example.id, example.origin, content), strict=True):
            column.append(value)
        self._bytes += len(content)
        self.count += 1
        if self._bytes >= BATCH_BYTES or len(self._columns[0]) >= BATCH_ROWS:
            self._flush()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with ExitStack() as closing:
            if kind is not None:
                closing.enter_context(suppress(OSError, self._arrow.ArrowException))  # it must not replace the error that came first
            for file in (self._file, self._starts, *self._digests):
                closing.callback(file.close)
            closing.callback(self._writer.close)
            if kind is None and self._columns[0]:
                self._flush()

    def store(self) -> RowStore:
        """Return the written store; call it after the writer is closed."""
        return RowStore(self.folder, self.count, self._kind or Example)

    def _flush(self) -> None:
        arrays = [words_column(values, field.type) for values, field in zip(self._columns, self._schema, strict=True)]
        self._writer.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
        self._starts.write(struct.pack("<q", self.count - len(arrays[0])))
        self._forget()

    def _forget(self) -> None:
        self._columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self._bytes = 0


class RowStore:
    """All rows, in the order in which they were read."""

    def __init__(self, folder: Path, count: int, kind: type[Example]) -> None:
        """`kind` is the class of all examples."""
        self.folder, self.count, self.kind = folder, count, kind

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only where the files are."""
        return {"folder": self.folder, "count": self.count, "kind": self.kind}

    def example(self, index: int) -> Example:
        """Decode the row with this index."""
        number = bisect_right(self._starts, index) - 1
        names, origins, contents = self._batches[number].columns
        place = index - self._starts[number]
        return self.kind.from_wire(names[place].as_py(), origins[place].as_py(), json.loads(contents[place].as_py()))

    def examples(self, indices: Places) -> Iterator[Example]:
        """Decode the rows with these indices; consecutive ones of the same batch together, which is faster."""
        starts = self._starts
        for number, run in groupby(map(int, np.asarray(indices)), lambda index: bisect_right(starts, index) - 1):
            rows = self._batches[number].take(numbers_column([index - starts[number] for index in run]))
            for name, origin, content in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                yield self.kind.from_wire(name, origin, json.loads(content))

    @cached_property
    def contents(self) -> Digests:
        """Digest of each row's exact content; (n, 2)."""
        return array_in(self.folder / CONTENTS, HALF, 2 * self.count).reshape(-1, 2)

    @cached_property
    def prompts(self) -> Digests:
        """`prompt_key` of each row."""
        return array_in(self.folder / PROMPTS, HALF, 2 * self.count).reshape(-1, 2)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Characters and UTF-8 bytes of each row that is a text; (n, 2), 0 for conversations."""
        return array_in(self.folder / SIZES, SIZE_TYPE, 2 * self.count).reshape(-1, 2)

    @cached_property
    def _starts(self) -> list[int]:
        """The first row of each batch."""
        found: list[int] = np.fromfile(self.folder / STARTS, SIZE_TYPE).tolist()
        return found

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self.folder / ROWS)


class StoredRows(Sequence[Example]):
    """Some rows of a store, in a given order; a row is decoded on each access."""

    def __init__(self, store: RowStore, places: Places | Path) -> None:
        """`places` are the rows' indices in the store, or the file to which `saved` wrote them."""
        self.store = store
        self._file = places if isinstance(places, Path) else None
        self._given = None if isinstance(places, Path) else places

    def __getstate__(self) -> dict[str, Any]:
        """Pickle saved rows as their path."""
        return {"store": self.store, "_file": self._file, "_given": None if self._file else self._given}

    @cached_property
    def places(self) -> Places:
        """Indices of these rows in the store."""
        return self._given if self._file is None else saved_array(self._file)  # type: ignore[return-value]

    @property
    def contents(self) -> Digests:
        """Digest of each row's exact content; (n, 2)."""
        return self.store.contents[self.places]

    @property
    def prompts(self) -> Digests:
        """`prompt_key` of each row."""
        return self.store.prompts[self.places]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Characters and UTF-8 bytes of each of these rows that is a text; (n, 2), 0 for conversations."""
        return self.store.sizes[self.places]

    def only(self, chosen: NDArray[np.bool_]) -> StoredRows:
        """Return the rows where `chosen`, a mask of shape (n,), is true."""
        return StoredRows(self.store, self.places[chosen])

    def saved(self, name: str) -> StoredRows:
        """Write the rows' indices to a file, so that they are pickled as a path."""
        path = self.store.folder / f"{name}.npy"
        np.save(path, self.places)
        return StoredRows(self.store, path)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> StoredRows: ...

    def __getitem__(self, index: int | slice) -> Example | StoredRows:
        if isinstance(index, slice):
            return StoredRows(self.store, self.places[index])
        return self.store.example(int(self.places[index]))

    def __iter__(self) -> Iterator[Example]:
        return self.store.examples(self.places)


def content_of(example: Example) -> bytes:
    """Return an example's exact content as JSON: rows with the same content are duplicates."""
    return json.dumps(example.to_wire(), ensure_ascii=False).encode()


def contents_of(examples: Iterable[Example]) -> Digests:
    """Return the digest of each row's exact content; (n, 2)."""
    return examples.contents if isinstance(examples, StoredRows) else collect(digest(content_of(example)) for example in examples)


def prompts_of(examples: Iterable[Example]) -> Digests:
    """Return the `prompt_key` of each row; (n, 2)."""
    return examples.prompts if isinstance(examples, StoredRows) else collect(bytes.fromhex(example.prompt_key) for example in examples)


def sizes_of(examples: Iterable[Example]) -> NDArray[np.int64]:
    """Return the characters and UTF-8 bytes of each row that is a text; (n, 2), 0 for conversations."""
    return examples.sizes if isinstance(examples, StoredRows) else np.array([one.text_size for one in examples], SIZE_TYPE).reshape(-1, 2)


def digest_of(examples: Iterable[Example]) -> str:
    """Return the hex sha256 of the rows' exact contents, in order."""
    return sha256(np.ascontiguousarray(contents_of(examples)).tobytes()).hexdigest()
