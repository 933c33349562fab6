"""The first rows of a data file show its columns, however it is packed; what cannot be read is refused in words."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.api.errors import BadInputError
from finetune.api.sources import DataFormat
from finetune.cli.datafile import LARGEST_SAMPLE_CHARACTERS, look_at

TABLE = 'id,text,label\n1,some words,good\n2,"more, and\nmore",3\n'


def test_columns_with_words_are_distinguished_from_those_with_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    first = look_at(tmp_path / "a.csv")
    assert first.names == ["id", "text", "label"]
    assert first.texts() == ["text", "label"]
    assert [row["text"] for row in first.rows] == ["some words", "more, and\nmore"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_a_packed_file_is_unpacked(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a.csv.gz").write_bytes(pack(TABLE.encode()))
    assert look_at(tmp_path / "a.csv.gz").names == ["id", "text", "label"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(TABLE.encode(encoding))
    assert look_at(tmp_path / "a.csv").names[0] == "id"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"q": "a"}\n{"q": "b", "a": "c"}\n', id="lines"),
        pytest.param('[{"q": "a"},\n {"q": "b", "a": "c"}]', id="array"),
        pytest.param('{"rows": [{"q": "a"}, {"q": "b", "a": "c"}]}', id="wrapper"),
        pytest.param('[{"q": "a"}, {"q": "b", "a": "c"}, {"q": ' + '"' + "x" * 2**21, id="longer-than-what-is-looked-at"),
    ],
)
def test_rows_of_json_are_read_however_they_are_held(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    first = look_at(tmp_path / "a.json")
    assert (first.names, len(first.rows)) == (["q", "a"], 2)


LONG = "x" * 2**21
"""Longer than what is looked at first."""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps({"q": LONG, "a": "b"}) + "\n" + json.dumps({"q": "c", "a": "d"}), id="lines"),
        pytest.param(json.dumps([{"q": LONG, "a": "b"}, {"q": "c", "a": "d"}]), id="array"),
        pytest.param(json.dumps({"rows": [{"q": LONG, "a": "b"}, {"q": "c", "a": "d"}], "version": 1}), id="wrapper"),
    ],
)
def test_a_first_row_of_json_of_megabytes_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    first = look_at(tmp_path / "a.json")
    assert (first.names, len(first.rows)) == (["q", "a"], 2)


def test_the_first_rows_of_a_large_wrapper_are_read_though_its_end_is_not(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("w") as file:
        file.write('{"version": 1, "tags": ["a"], "rows": [')
        file.writelines(json.dumps({"q": str(number), "a": LONG[: 2**16]}) + ",\n" for number in range(300))
        file.write('{"q": "last", "a": "b"}]}')
    first = look_at(tmp_path / "a.json")
    assert (first.names, first.rows[0]["q"], len(first.rows)) == (["q", "a"], "0", 200)


def test_of_a_row_that_is_too_long_to_be_looked_at_only_the_format_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 1, "q": LONG * 9, "a": "b"}))
    assert look_at(tmp_path / "a.jsonl").rows == ()


@pytest.mark.parametrize("text", ["[1, 2, 3]\n", '{"a": 1, [2]: 3}\n', "[[1], 2]\n"], ids=["lists", "a list as a name", "nested lists"])
def test_of_a_long_file_of_json_that_is_no_object_only_the_format_is_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text * (LARGEST_SAMPLE_CHARACTERS // len(text) + 1))
    assert look_at(tmp_path / "a.jsonl").rows == ()


def test_a_text_file_that_begins_with_blanks_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n" * 2**20 + "words")
    assert look_at(tmp_path / "a.txt").format is DataFormat.TEXT


def test_messages_are_distinguished_from_other_lists_of_objects_also_as_json_in_a_cell(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}]
    row = {"calls": [{"name": "f"}], "talk": turns, "packed": json.dumps(turns)}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    first = look_at(tmp_path / "a.jsonl")
    assert first.conversations() == ["talk", "packed"]
    assert first.lists_of_objects() == ["calls", "talk", "packed"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("a.docx", b"PK", "its name does not say its format; save the rows as CSV or JSONL", id="format"),
        pytest.param("a.xlsx", b"PK", "is a spreadsheet; export the sheet as CSV", id="spreadsheet"),
        pytest.param("a.yaml", b"kind: FineTuneJob", "is a job, not data; give the file that holds the rows", id="job"),
        pytest.param("a.txt", b" \n" * 2**20, "has no text", id="blanks"),
        pytest.param("a.json", b'["one", "two"]', "its items are texts, not objects; write each as an object", id="texts"),
        pytest.param("a.jsonl", b'"one"\n"two"\n', "its items are texts, not objects", id="lines of texts"),
        pytest.param("a.csv", b"", "has no rows; write a table with the names of its columns first", id="empty"),
        pytest.param("a.csv", b"text,label\n", "has no rows", id="header-alone"),
        pytest.param("a.csv", b"Where is my new card?,arrival\nb,c\n", "its first line seems to be a row; put a line", id="no-header"),
        pytest.param("a.csv", b"text,label\n\xe9t\xe9,b\n", "is not UTF-8 text; save the file as UTF-8", id="encoding"),
        pytest.param("a.jsonl", b"not json\n", "has no rows", id="no-json"),
        pytest.param("a.csv.gz", gzip.compress(b"text,label\n" * 99)[:20], "cannot be read: ", id="torn-archive"),
        pytest.param("a.csv.gz", gzip.compress(TABLE.encode())[:10] + b"\xff" * 40, "cannot be read: ", id="damaged-archive"),
    ],
)
def test_a_file_that_cannot_be_looked_at_is_refused_with_the_fix(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError) as raised:
        look_at(tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path / name}: {said}")


@pytest.mark.parametrize(("name", "said"), [("none.csv", "there is no such file"), ("", "is a folder")])
def test_a_path_without_a_file_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        look_at(tmp_path / name)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.zst"])
def test_of_a_file_that_needs_other_libraries_only_the_format_is_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x28\xb5\x2f\xfd...")
    assert look_at(tmp_path / name).rows == ()
