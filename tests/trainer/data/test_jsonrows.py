"""JSON is read as rows in the forms that people write; every fault names the line and what to do about that row."""

import json
import re
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from trainer.data import jsonrows, streams
from trainer.data.jsonrows import parse, read_json
from trainer.data.streams import numbered_parts

PATH = Path("rows.json")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
ROWS = st.lists(st.fixed_dictionaries({"prompt": VALUES, "completion": st.text(st.characters(exclude_categories=["Cs"]))}), max_size=5)


def lines(text: str) -> Iterator[tuple[int, str]]:
    return iter(enumerate(re.findall(r"[^\n]*\n|[^\n]+", text), start=1))


def read(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(record.place, record.values) for record in read_json("data.train[0]", PATH, lines(text))]


@given(rows=ROWS, indent=st.sampled_from([None, 0, 2]))
def test_an_array_gives_back_what_was_written(rows: list[dict[str, Any]], indent: int | None) -> None:
    assert [values for _, values in read(json.dumps(rows, indent=indent, ensure_ascii=False))] == rows


@given(rows=ROWS.filter(bool), indent=st.sampled_from([0, 2]))
def test_an_object_around_one_list_gives_back_its_items(rows: list[dict[str, Any]], indent: int) -> None:
    assert [values for _, values in read(json.dumps({"version": 1, "data": rows}, indent=indent))] == rows
    assert [values for _, values in read(json.dumps({"data": rows}))] == rows


def test_lines_are_counted_once_in_an_array_that_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    count = jsonrows._Document._line_ends

    def counting(document: jsonrows._Document, start: int, stop: int) -> int:
        counted.append(stop - start)
        return count(document, start, stop)

    monkeypatch.setattr(jsonrows._Document, "_line_ends", counting)
    text = json.dumps([{"a": "x" * 90}] * 2000)
    assert read(text)[-1] == ("item 2000 (line 1)", {"a": "x" * 90})
    assert sum(counted) <= len(text)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_lines_are_those_of_the_file_however_much_is_read_at_once(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(jsonrows, "READ_CHARACTERS", size)
    text = "\n\n[" + "".join('\n{"a":\n1},\n' for _ in range(20)) + '{"b": 1}, {"c" 1}]'
    records = read_json("data.train[0]", PATH, lines(text))
    assert [next(records).place for _ in range(21)] == [*(f"item {row + 1} (line {4 + 3 * row})" for row in range(20)), "item 21 (line 63)"]
    with pytest.raises(InputError, match=r"line 63 is not JSON .* at character 16"):
        next(records)


def test_the_places_of_an_array_are_its_items_and_their_lines() -> None:
    assert [place for place, _ in read('[\n  {"a": 1},\n\n  {\n   "a": 2}, {"a": 3}]')] == [
        "item 1 (line 2)",
        "item 2 (line 4)",
        "item 3 (line 5)",
    ]


def test_a_long_array_is_read_item_by_item() -> None:
    def endless() -> Iterator[tuple[int, str]]:
        yield 1, "[\n"
        number = 1
        while True:
            number += 1
            yield number, json.dumps({"a": "x" * 1000}) + ",\n"

    records = read_json("data.train[0]", PATH, endless())
    assert [next(records).place for _ in range(300)][-1] == "item 300 (line 301)"


def test_an_array_that_is_one_line_is_not_in_memory_as_a_whole(tmp_path: Path) -> None:
    path, size = tmp_path / "rows.json", 8_000_000
    path.write_text(json.dumps([{"a": "x" * 1000}] * (size // 1000)))
    tracemalloc.start()
    try:
        last = deque(read_json("data.train[0]", path, numbered_parts("data.train[0]", path)), maxlen=1).pop()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last.place == f"item {size // 1000} (line 1)"
    assert peak < size / 3


@pytest.mark.parametrize(
    "text", ['[{"a": "ä漢"}, {"b": 2},\r\n {"c": [1, 2]}]\r\n', '{"a": "ä漢"}\r\n{"b": 2}\n', '{\r\n"data": [{"a": "ä"}]}']
)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_lines_that_come_in_parts_hold_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    (tmp_path / "rows.json").write_bytes(text.encode())
    monkeypatch.setattr(streams, "PART_SIZE", size)
    records = read_json("data.train[0]", PATH, numbered_parts("data.train[0]", tmp_path / "rows.json"))
    assert [(record.place, record.values) for record in records] == read(text)


@pytest.mark.parametrize("before", ["", '[{"a": 1},\n'], ids=["one line", "second line"])
def test_the_character_of_a_fault_is_that_of_its_line_however_much_of_it_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    line = ((before and " ") or "[") + '{"a": "xyz"}, ' * 200 + '{"b" 1}]'
    (tmp_path / "rows.json").write_text(before + line)
    monkeypatch.setattr(streams, "PART_SIZE", 16)
    monkeypatch.setattr(jsonrows, "READ_CHARACTERS", 32)
    with pytest.raises(InputError, match=rf"line {2 if before else 1} is not JSON .* at character {line.index('1}]') + 1}\)"):
        deque(read_json("data.train[0]", PATH, numbered_parts("data.train[0]", tmp_path / "rows.json")), maxlen=0)


def test_items_longer_than_what_is_read_at_once_are_read_whole() -> None:
    rows = [{"a": '"x\\' * 100_000}, {"a": [1] * 50_000}, {"a": "end"}]
    assert [values for _, values in read(json.dumps(rows, indent=1))] == rows


def test_objects_that_are_spread_over_lines_are_rows() -> None:
    assert read('\n{\n "a": 1\n}\n{\n "a": 2\n}\n') == [("line 2", {"a": 1}), ("line 5", {"a": 2})]


@pytest.mark.parametrize(
    "text",
    [
        '{"messages": [{"role": "user", "content": "a"}]}',
        '{\n"conversations": [{"from": "human", "value": "a"}]}',
        '{"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]}',
        '{"prompt": "a", "completion": "b", "sources": [{"title": "c"}]}',
    ],
)
def test_a_single_row_is_a_row(text: str) -> None:
    ((_, values),) = read(text)
    assert values == json.loads(text)


@pytest.mark.parametrize("text", ["", "\n \n", "[]", "[\n]"])
def test_a_file_without_rows_has_none(text: str) -> None:
    assert read(text) == []


FAULTS = [
    pytest.param('{"a": 1}\n{"a": 1, "b": 2, "a": 3}', "line 2 has the key 'a' twice in one object; keep one of them", id="key twice"),
    pytest.param('{"m": [{"role": "user", "role": "x"}]}\n{}', "line 1 has the key 'role' twice", id="key twice, nested"),
    pytest.param('[\n{"a": 1},\n{"a": 1, "a": 2}]', "item 2 (line 3) has the key 'a' twice", id="key twice in an array"),
    pytest.param('{"data": [\n{"a": {"b": 1, "b": 2}}\n]}', "line 1 has the key 'b' twice", id="key twice in a document"),
    pytest.param('{"a": NaN}', "line 1 holds NaN, which JSON does not have; write null", id="NaN"),
    pytest.param('{"a": "b"}\n{"a": [-Infinity]}', "line 2 holds -Infinity", id="infinity"),
    pytest.param(
        '{"a": "b"}\n["a", "b"]\n', 'line 2 is not a JSON object but a list: \'["a", "b"]\'; write this row as an object', id="list"
    ),
    pytest.param(
        '{"a": "b"}\n[{"role": "user", "content": "a"}]', 'write the conversation as an object: {"messages": ', id="bare messages"
    ),
    pytest.param('[{"role": "user", "content": "a"}]\n[{"role": "user", "content": "b"}]', '{"messages": [', id="bare messages at first"),
    pytest.param('"a"\n{"a": 1}', "line 1 is not a JSON object but a text", id="bare text"),
    pytest.param('{"a": 1}\n42', "line 2 is not a JSON object but a number", id="bare number"),
    pytest.param('{"a": 1}\n"{\\"a\\": 1}"', "the object is written as a string: remove the quotes", id="encoded twice"),
    pytest.param('["a"]', "item 1 (line 1) is not a JSON object but a text", id="array of texts"),
    pytest.param('{"a": 1}\n{"a": "b', "line 2 is not JSON (Unterminated string", id="cut line"),
    pytest.param('{"a": 1}\n{"a": "b', "it breaks off: the file was not written completely", id="cut line, advice"),
    pytest.param('[{"a": 1},\n{"a": 2', "it breaks off", id="cut array"),
    pytest.param('[{"a": 1},\n{"a": 2}\n', "breaks off after item 2 (line 2): the array is not closed", id="array not closed"),
    pytest.param('[{"a": 1},\n{"a": 2},\n]', "line 3 has a comma before the closing bracket; remove the comma", id="trailing comma"),
    pytest.param('[\n{"a": 1,\n}]', "remove the comma before }", id="trailing comma in an item"),
    pytest.param('[{"a": 1}\n{"a": 2}]', "line 2 has no comma after item 1", id="comma missing"),
    pytest.param('[{"a": 1}]\n[{"a": 2}]', "line 2 goes on after the end of the array", id="two arrays"),
    pytest.param('{"a": 1},\n{"a": 2}', "line 1 has a comma between two objects; remove the commas", id="commas between objects"),
    pytest.param('{"a": 1}\n{"a": 2},\n{}', "line 2 is not JSON (Extra data at character 9): '{\"a\": 2},'; remove the comma", id="comma"),
    pytest.param('{\n"a": 1},\n{"a": 2}', "has a comma between two objects", id="comma between documents"),
    pytest.param('{"a": 1}{"a": 2}', "put each object on a line of its own", id="two on a line"),
    pytest.param("{'a': 1}\n{}", "JSON needs double quotes", id="single quotes"),
    pytest.param('{"a": None}\n{}', "in JSON write null, true and false", id="Python's None"),
    pytest.param('{"a": "b\tc"}\n{}', "write a line break in a text as \\n and a tab as \\t", id="raw tab"),
    pytest.param('{"a": 1}\r{"a": 2}', "save the file with line feeds", id="carriage returns"),
    pytest.param("prompt,completion\na,b", "if the file is not JSON, give its format", id="CSV"),
    pytest.param("[" * 100_000, "nested too deeply", id="nested without end"),
    pytest.param('{"a": [1, 2], "b": [3, 4]}', "holds a table column by column (a, b); write it row by row", id="by column"),
    pytest.param('{"a": {"0": 1}, "b": {"0": 3}}', 'orient="records"', id="as pandas writes"),
    pytest.param('{"train": [{"a": 1}], "test": [{"a": 2}]}', "holds several lists of rows (train, test)", id="several lists"),
]


@pytest.mark.parametrize(("text", "words"), FAULTS)
def test_a_fault_is_reported_with_line_and_advice(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert words in str(caught.value)
    assert caught.value.field == "data.train[0]"
    assert caught.value.problem.startswith("rows.json ")
    assert caught.value.fix


def test_a_fault_far_into_an_array_is_reported_with_its_line() -> None:
    rows = [json.dumps({"a": "x" * 100}) + "," for _ in range(5000)]
    with pytest.raises(InputError, match=r"line 4002 is not JSON .* in item 4001 \(line 4002\)"):
        read("\n".join(["[", *rows[:4000], '{"a": oops},', *rows, "{}]"]))


def test_parsing_alone_refuses_the_same() -> None:
    assert parse('[{"role": "user"}]') == [{"role": "user"}]
    for text in ('{"a": 1, "a": 1}', "NaN", "{"):
        with pytest.raises(ValueError):
            parse(text)
