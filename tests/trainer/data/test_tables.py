"""Tables of text are read whatever divides their cells; a row of another width is reported with its line."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from trainer.data.tables import read_table

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=20)


def lines(text: str) -> Iterator[tuple[int, str]]:
    return iter(enumerate(text.removesuffix("\n").split("\n"), start=1) if text else ())


def read(text: str, usual: str = ",", given: str | None = None) -> list[dict[str, str]]:
    return [record.values for record in read_table("data.train[0]", Path("rows.csv"), lines(text), usual, given)]


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=5), delimiter=st.sampled_from([",", ";", "\t", "|"]))
def test_what_was_written_with_any_delimiter_is_read_back(rows: list[tuple[str, str]], delimiter: str) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("prompt", "completion"), *rows])
    assert read(sink.getvalue()) == [{"prompt": prompt, "completion": completion} for prompt, completion in rows]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("usual", [",", "\t"], ids=["csv", "tsv"])
def test_commas_in_cells_do_not_hide_the_delimiter(delimiter: str, usual: str) -> None:
    text = "\n".join(
        delimiter.join(cells) for cells in [("prompt", "completion"), ("Well, what, is it?", "It is, say, an apple."), ("a, b", "c")]
    )
    assert read(text, usual) == [
        {"prompt": "Well, what, is it?", "completion": "It is, say, an apple."},
        {"prompt": "a, b", "completion": "c"},
    ]


def test_commas_in_the_header_do_not_hide_the_delimiter_either() -> None:
    assert read("question, short;answer\na;b, c, d\ne, f;g\n") == [
        {"question, short": "a", "answer": "b, c, d"},
        {"question, short": "e, f", "answer": "g"},
    ]


def test_semicolons_in_cells_do_not_hide_the_comma() -> None:
    assert read("prompt,completion\na;b;c,d;e\nf;g,h\n")[0] == {"prompt": "a;b;c", "completion": "d;e"}


def test_one_column_of_words_with_commas_needs_quotes() -> None:
    assert read('text\nOne word\n"Two, words"\n') == [{"text": "One word"}, {"text": "Two, words"}]
    with pytest.raises(InputError, match=r"line 2 has 2 cells, the header has 1 \(text\); the delimiter is the comma; put cells"):
        read("text\nTwo, words\n")


def test_a_delimiter_that_is_given_is_taken() -> None:
    assert read("a,b^c\n1^2\n", given="^") == [{"a,b": "1", "c": "2"}]


def test_the_first_line_of_excel_names_the_delimiter() -> None:
    records = list(read_table("data.train[0]", Path("rows.csv"), lines("sep=;\na;b\n1;2\n"), ",", None))
    assert [(record.place, record.values) for record in records] == [("line 3", {"a": "1", "b": "2"})]


def test_quoted_cells_hold_delimiters_line_breaks_and_quotes() -> None:
    records = list(read_table("data.train[0]", Path("rows.csv"), lines('\na;b\n"x;\n""y""";z\nu;v\n'), ",", None))
    assert [(record.place, record.values) for record in records] == [
        ("line 3", {"a": 'x;\n"y"', "b": "z"}),
        ("line 5", {"a": "u", "b": "v"}),
    ]


def test_quotes_are_words_in_a_table_with_tabs_that_was_written_without_quoting() -> None:
    rows = 'prompt\tcompletion\n"Hi," he said.\t"Salut", dit-il.\n"Open\tb "c"\n'
    assert read(rows, "\t") == [{"prompt": '"Hi," he said.', "completion": '"Salut", dit-il.'}, {"prompt": '"Open', "completion": 'b "c"'}]
    assert read('prompt\tcompletion\n"a\tb"\t"c ""d"""\n', "\t") == [{"prompt": "a\tb", "completion": 'c "d"'}]


def test_blanks_after_delimiters_are_no_content_where_the_header_has_them() -> None:
    assert read('prompt, completion\na, "b, c"\n') == [{"prompt": "a", "completion": "b, c"}]
    assert read("prompt,completion\na, b\n") == [{"prompt": "a", "completion": " b"}]


def test_a_comma_and_a_blank_in_a_quoted_name_say_nothing_of_blanks_in_cells() -> None:
    assert read('"question, if any",answer\na, b\n') == [{"question, if any": "a", "answer": " b"}]
    assert read('id, "question, if any", answer\n1, a, "b, c"\n') == [{"id": "1", "question, if any": "a", "answer": "b, c"}]
    assert read("id, question,answer\n1, a, b\n") == [{"id": "1", "question": " a", "answer": " b"}]


def test_of_two_delimiters_that_divide_alike_the_one_that_gives_known_columns_is_taken() -> None:
    assert read("id;x|prompt|completion\n1;u|p|c\n") == [{"id;x": "1;u", "prompt": "p", "completion": "c"}]
    assert read("a|prompt;completion\n1|x;y\n") == [{"a|prompt": "1|x", "completion": "y"}]
    records = read_table("data.train[0]", Path("rows.csv"), lines("id;x|frage|antwort\n1;u|p|c\n"), ",", None, ["frage", "antwort"])
    assert [record.values for record in records] == [{"id;x": "1;u", "frage": "p", "antwort": "c"}]


def test_columns_without_a_name_are_numbered() -> None:
    assert read(",prompt,completion,,\n0,a,b,,\n")[0] == {"column 1": "0", "prompt": "a", "completion": "b", "column 4": "", "column 5": ""}


@pytest.mark.parametrize("text", ["", "\n", "prompt,completion\n", "prompt,completion\n\n\n"])
def test_a_header_alone_is_no_row(text: str) -> None:
    assert read(text) == []


FAULTS = [
    pytest.param(
        "p,c\na,b\na,b,c\n",
        "line 3 has 3 cells, the header has 2 (p, c); the delimiter is the comma; put cells that hold a comma",
        id="more",
    ),
    pytest.param(
        "p;c\n1;2\na\n", "line 3 has 1 cell, the header has 2 (p, c); the delimiter is the semicolon; add the missing", id="fewer"
    ),
    pytest.param('p,c\n"a,b\n', "in the row that begins at line 2", id="quote not closed"),
    pytest.param('p,c\n"a" b,c\n', "check its double quotes", id="quote inside"),
    pytest.param("p,c\ra,b\n", "save the file with line feeds", id="carriage returns"),
    pytest.param("p,p\n1,2\n", "has two columns named 'p'; rename one", id="column twice"),
    pytest.param('{"p": "a", "c": "b"}\n', "begins with JSON instead of a header; give format: jsonl", id="JSON lines"),
]


@pytest.mark.parametrize(("text", "words"), FAULTS)
def test_a_fault_is_reported_with_line_and_advice(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert words in str(caught.value)
    assert caught.value.fix
