"""Rows come back from disk as they were written, in another process too, and take no memory of their own."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from tests.trainer.fixtures.examples import chat, conversation, text
from tests.trainer.fixtures.stored import stored
from trainer.chat.example import ChatExample, Message
from trainer.data import rowstore
from trainer.data.rows import Example
from trainer.data.rowstore import CONTENTS, RowWriter, StoredRows, contents_of, digest_of, prompts_of, sizes_of
from trainer.text.example import TextExample

ROWS_FILE = rowstore.ROWS
ROWS = [
    chat("a", "b", system="s", origin="data.train[0] line 1"),
    conversation(Message("user", "a"), Message("assistant", "b", "thought", learned=False), Message("assistant", ""), tools='[{"a": "ü"}]'),
    chat("Grüße, 世界\n\tif a:\0", "d", origin="data.train[0] line 3"),
    chat("", ""),
]
TEXTS = [text("Grüße, 世界\n\tif a:\0", origin="data.train[0] line 3"), text(""), text("b"), text("c")]


def written(folder: Path, rows: Sequence[Example]) -> StoredRows:
    with RowWriter(folder) as writer:
        for row in rows:
            writer.append(row)
    return StoredRows(writer.store(), np.arange(writer.count))


@pytest.mark.parametrize("rows", [ROWS, TEXTS], ids=["conversations", "texts"])
def test_rows_come_back_to_the_letter(tmp_path: Path, rows: Sequence[Example]) -> None:
    assert list(written(tmp_path, rows)) == rows


def test_a_store_holds_examples_of_one_kind(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a store of ChatExample takes no TextExample"):
        written(tmp_path, [ROWS[0], TEXTS[0]])


@given(st.text(st.characters(codec="utf-8")), st.booleans(), st.none() | st.text(st.characters(codec="utf-8")))
def test_every_text_survives_the_way_to_disk(words: str, learned: bool, reasoning: str | None) -> None:
    row = ChatExample("name", "origin", (Message("user", words), Message("assistant", words, reasoning, learned)), tools=words)
    assert list(stored([row])) == [row]


def test_rows_of_several_batches_are_found_by_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowstore, "BATCH_ROWS", 3)
    monkeypatch.setattr(rowstore, "BATCH_BYTES", 200)
    rows = [text("x" * (number % 90)) for number in range(100)]
    found = written(tmp_path, rows)
    assert [found[place] for place in (99, 0, 57, -1)] == [rows[place] for place in (99, 0, 57, -1)]
    assert list(found[10:20:3]) == rows[10:20:3]
    assert (list(found), list(found[::-1])) == (rows, rows[::-1])
    with pytest.raises(IndexError):
        found[100]


@pytest.mark.parametrize("rows", [ROWS, TEXTS], ids=["conversations", "texts"])
def test_digests_and_sizes_are_those_of_the_rows(tmp_path: Path, rows: Sequence[Example]) -> None:
    found, expected = written(tmp_path, rows).only(np.array([True, False, True, True])), [rows[0], *rows[2:]]
    for of in (contents_of, prompts_of, sizes_of):
        assert of(found).tolist() == of(expected).tolist()  # type: ignore[operator]
    assert [half.tobytes().hex() for half in found.prompts] == [row.prompt_key for row in expected]
    assert digest_of(found) == digest_of(expected)
    sizes = [[len(row.text), len(row.text.encode())] if isinstance(row, TextExample) else [0, 0] for row in expected]
    assert sizes_of(found).tolist() == sizes


def test_a_store_travels_as_a_path(tmp_path: Path) -> None:
    rows = [text("long words " * 1000 + str(number)) for number in range(200)]
    saved = written(tmp_path, rows).only(np.arange(200) % 2 == 0).saved("train")
    list(saved)  # what was mapped does not travel
    sent = pickle.dumps(saved)
    assert len(sent) < 1000
    assert list(pickle.loads(sent)) == rows[::2]


def test_rows_are_read_where_files_cannot_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no such device")

    written(tmp_path, ROWS)
    for name in ("memory_map", "memmap"):
        monkeypatch.setattr(pyarrow if name == "memory_map" else np, name, refuse)
    store = rowstore.RowStore(tmp_path, len(ROWS), ChatExample)
    rows = StoredRows(store, np.arange(4)).saved("train")
    assert list(rows) == [rows[place] for place in range(4)] == ROWS
    assert rows.contents.tolist() == contents_of(ROWS).tolist()
    assert list(pickle.loads(pickle.dumps(rows))) == ROWS


def test_no_rows_are_a_store_too(tmp_path: Path) -> None:
    found = written(tmp_path, [])
    assert (list(found), len(found.prompts), digest_of(found)) == ([], 0, digest_of([]))


def test_a_fault_while_rows_are_read_closes_the_files(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path)
    with pytest.raises(AttributeError), writer:
        writer.append(None)  # type: ignore[arg-type]
    assert writer._file.closed


@pytest.mark.parametrize("name", [ROWS_FILE, CONTENTS])
def test_a_full_disk_leaves_no_file_open(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    writer = RowWriter(tmp_path)
    with pytest.raises(OSError, match="No space left"), writer:
        writer.append(ROWS[0])
    assert all(file.closed for file in (writer._file, writer._starts, *writer._digests))


@pytest.mark.parametrize("name", [ROWS_FILE, CONTENTS])
def test_a_full_disk_does_not_hide_what_is_wrong_with_the_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    writer = RowWriter(tmp_path)

    def refuse_the_second() -> None:
        with writer:
            writer.append(ROWS[0])
            raise InputError("data.train[0]", "wrong", "write it differently")

    with pytest.raises(InputError, match="wrong"):
        refuse_the_second()
    assert all(file.closed for file in (writer._file, writer._starts, *writer._digests))


MEMORY = """
import json, sys, pathlib
from finetune.api.trainconfig import TrainConfig
from trainer.preflight.prepare import prepare

def own():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous:"))

def peak(config, folder):
    dataset = prepare(TrainConfig.model_validate_json(pathlib.Path(config).read_text()), pathlib.Path(folder))
    return len(dataset.train) + len(dataset.test), own()

small = peak(sys.argv[1], sys.argv[3])[1]
rows, large = peak(sys.argv[2], sys.argv[4])
print(rows, (large - small) * 1024)
"""


@pytest.fixture
def measured(tmp_path: Path) -> Callable[[list[int]], tuple[int, int]]:
    from tests.builders import train_config
    from tests.trainer.fixtures.examples import source

    def measure(sizes: list[int]) -> tuple[int, int]:
        for number, size in enumerate(sizes):
            lines = (f'{{"prompt": "question {row}", "completion": "{"word " * 60}{row}"}}\n' for row in range(size))
            (tmp_path / f"{number}.jsonl").write_text("".join(lines))
            wanted = train_config(data={"train": [source(tmp_path / f"{number}.jsonl")], "testFraction": 0.1})
            (tmp_path / f"{number}.json").write_text(wanted.model_dump_json(by_alias=True))
        names = [*("0.json", "1.json"), "0.rows", "1.rows"]
        program = [sys.executable, "-c", MEMORY, *(str(tmp_path / name) for name in names)]
        rows, grown = subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()
        return int(rows), int(grown)

    return measure


def test_forty_thousand_rows_are_read_in_the_memory_of_a_few(measured: Callable[[list[int]], tuple[int, int]]) -> None:
    rows, grown = measured([100, 40_000])
    assert rows == 40_000
    # Buffers take 15 MB however many rows there are; as Python objects the rows would take 50 MB.
    assert grown < 30_000_000, "rows are held in memory"


def test_stored_rows_equal_those_of_the_builders() -> None:
    assert list(stored(ROWS)) == ROWS
