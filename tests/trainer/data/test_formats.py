"""Files are read as records; every fault names file and line and says how to mend it."""

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.errors import InputError
from finetune.api.sources import DataFormat
from trainer.data.formats import read_file

FIELD = "data.train[0]"
# Half surrogates cannot be written to a file.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def values(path: Path, wanted: DataFormat | None = None) -> list[dict[str, object]]:
    return [record.values for record in read_file(FIELD, path, wanted)]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@settings(max_examples=60)
@given(rows=st.lists(st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS}), max_size=6))
def test_jsonl_gives_back_whatever_text_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert values(write(tmp_path_factory.mktemp("data"), "rows.jsonl", lines)) == rows


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(TEXTS.filter(lambda cell: "\r" not in cell and "\0" not in cell), st.just("x")), max_size=6))
def test_csv_gives_back_whatever_text_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "completion"])
        writer.writerows(rows)
    assert values(path) == [{"prompt": prompt, "completion": completion} for prompt, completion in rows]


def test_parquet_gives_back_what_was_written(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"messages": [{"role": "user", "content": "a"}]}, {"messages": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert values(tmp_path / "rows.parquet") == rows


def test_a_text_file_is_a_row_per_paragraph(tmp_path: Path) -> None:
    path = write(tmp_path, "book.txt", "\n\nfirst line\nsecond line\n \n\nlast one")
    records = list(read_file(FIELD, path, None))
    assert [(record.place, record.values["text"]) for record in records] == [("line 3", "first line\nsecond line"), ("line 7", "last one")]


def test_a_byte_order_mark_and_blank_lines_are_no_content(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}')
    assert [(record.place, record.values) for record in read_file(FIELD, path, None)] == [
        ("line 1", {"text": "a"}),
        ("line 3", {"text": "b"}),
    ]


def test_a_line_separator_inside_a_json_string_ends_no_line(tmp_path: Path) -> None:
    assert values(write(tmp_path, "rows.jsonl", '{"text": "a\u2028b\x85c"}\n')) == [{"text": "a\u2028b\x85c"}]


def test_the_format_can_be_given_where_the_name_says_nothing(tmp_path: Path) -> None:
    assert values(write(tmp_path, "rows.data", '{"text": "a"}'), DataFormat.JSONL) == [{"text": "a"}]


FAULTS = [
    pytest.param("a.parquet", "no parquet", ["not a valid Parquet file", "write it again"], id="broken Parquet"),
    pytest.param("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", ["not a valid Parquet file", "write it again"], id="torn Parquet"),
    pytest.param("a.parquet.gz", gzip.compress(b"PAR1"), ["is packed with gzip", "unpack it"], id="packed Parquet"),
    pytest.param("a.jsonl", b"PAR1\0\0", ["is a Parquet file", "format: parquet"], id="Parquet by another name"),
    pytest.param("a.csv", b"PK\x03\x04\0", ["Excel workbook", "save the sheet as CSV"], id="workbook by another name"),
    pytest.param("a.xlsx", "x", ["is not supported", "save the sheet as CSV"], id="workbook"),
    pytest.param("a.data", "x", ["does not show its format", "jsonl, json, csv, tsv, parquet, text"], id="unknown ending"),
    pytest.param("a.gz", "x", ["does not show its format"], id="only packed"),
]


@pytest.mark.parametrize(("name", "content", "expected"), FAULTS)
def test_a_faulty_file_is_reported_by_file_and_line(tmp_path: Path, name: str, content: str | bytes, expected: list[str]) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as caught:
        values(path)
    assert caught.value.field.startswith(FIELD)
    assert name in caught.value.problem
    assert caught.value.fix
    for words in expected:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["a.JSONL", "a.Json", "a.NDJSON.GZ", "a b.jsonl.zst"])
def test_the_ending_gives_the_format_in_either_case_and_before_what_it_is_packed_with(tmp_path: Path, name: str) -> None:
    assert values(write(tmp_path, name, '{"text": "a"}\n')) == [{"text": "a"}]


@pytest.mark.parametrize(("wanted", "content"), [(DataFormat.JSON, "{}"), (DataFormat.PARQUET, "PAR1"), (DataFormat.TEXT, "a")])
def test_a_delimiter_has_no_meaning_but_for_tables(tmp_path: Path, wanted: DataFormat, content: str) -> None:
    with pytest.raises(InputError, match=rf"data\.train\[0\]\.delimiter: has no meaning for rows\.data, which is read as {wanted}"):
        list(read_file(FIELD, write(tmp_path, "rows.data", content), wanted, delimiter=";"))


def test_columns_of_bytes_are_not_read_from_parquet_unless_they_are_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": "a", "image": {"bytes": b"x", "path": "y"}, "raw": b"z", "note": "n"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert values(tmp_path / "rows.parquet") == [{"prompt": "a", "note": "n"}]
    (named,) = read_file(FIELD, tmp_path / "rows.parquet", None, ["raw"])
    assert named.values == {"prompt": "a", "raw": b"z", "note": "n"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "train.jsonl", "{}")
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        values(path)


def test_reading_local_rows_loads_no_heavy_library(tmp_path: Path) -> None:
    path = write(tmp_path, "train.jsonl", '{"prompt": "a", "completion": "b"}')
    program = (
        "import sys, pathlib; import trainer.data; from trainer.data.formats import read_file;"
        f"list(read_file('data.train[0]', pathlib.Path({str(path)!r}), None));"
        "print({'torch', 'transformers', 'datasets', 'pyarrow', 'ray'} & set(sys.modules))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == "set()"
