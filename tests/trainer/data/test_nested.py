"""SQuAD's nested form becomes rows; what is built otherwise is refused by its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from trainer.data.formats import read_file
from trainer.data.nested import Empty, unfolded
from trainer.data.records import Record

QUESTION = {"id": "a", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}


def article(*paragraphs: Any, **more: Any) -> dict[str, Any]:
    return {"title": "People", "paragraphs": list(paragraphs), **more}


def read(tmp_path: Path, content: Any) -> list[Record]:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return list(read_file("data.train[0]", path, None, ["question", "context", "answers"]))


def test_each_question_of_a_file_in_the_form_of_squad_is_a_row_with_its_paragraph(tmp_path: Path) -> None:
    second = QUESTION | {"id": "b", "answers": [], "is_impossible": True}
    content = {
        "version": "v2.0",
        "data": [article({"context": "Ann came.", "qas": [QUESTION, second]}), article({"context": "No.", "qas": []})],
    }
    records = read(tmp_path, content)
    assert [record.where for record in records] == ["data[0].paragraphs[0].qas[0]", "data[0].paragraphs[0].qas[1]"]
    assert records[0].values == {"context": "Ann came.", **QUESTION}
    assert records[1].values["is_impossible"] is True


@pytest.mark.parametrize("form", ["lines", "array", "paragraphs"])
def test_articles_and_paragraphs_are_rows_in_any_file_of_json(tmp_path: Path, form: str) -> None:
    paragraph = {"context": "Ann came.", "qas": [QUESTION]}
    if form == "lines":
        path = tmp_path / "articles.jsonl"
        path.write_text("\n".join(json.dumps(article(paragraph)) for _ in range(2)), encoding="utf-8")
        records = list(read_file("data.train[0]", path, None))
    else:
        records = read(tmp_path, [article(paragraph), article(paragraph)] if form == "array" else [paragraph, paragraph])
    assert [record.values["question"] for record in records] == ["Who?", "Who?"]


def test_a_paragraph_without_questions_is_no_row() -> None:
    paragraphs = [{"context": "Ann came.", "qas": [QUESTION]}, {"context": "Nobody asked.", "qas": []}]
    records = [Record(f"line {number}", row) for number, row in enumerate(paragraphs, 1)]
    assert [record.where for record in unfolded("data.train[0]", records)] == ["line 1.qas[0]"]


def test_articles_without_paragraphs_and_paragraphs_without_questions_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl"
    rows = [article(), article({"context": "Ann came.", "qas": [QUESTION]}, {"context": "No.", "qas": []}), article()]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    empty, found = Empty(), Empty()

    records = list(read_file("data.train[0]", path, None, empty=empty))

    assert [record.values["question"] for record in records] == ["Who?"]
    assert empty.findings("data.train[0]") == [
        "data.train[0]: 2 articles without paragraphs and 1 paragraph without questions add no rows (the first: line 1)"
    ]
    assert list(unfolded("data.test[0]", [Record("line 3", article())], found)) == []
    assert found.findings("data.test[0]") == ["data.test[0]: 1 article without paragraphs adds no rows (the first: line 3)"]


def test_rows_of_another_form_are_left_as_they_are() -> None:
    rows = [
        {"text": "a"},
        {"paragraphs": ["one", "two"]},
        {"qas": [{"q": "x"}]},
        {"paragraphs": 3, "qas": None},
        {"text": "a", "paragraphs": []},
    ]
    records = [Record(f"line {number}", row) for number, row in enumerate(rows, 1)]
    assert list(unfolded("data.train[0]", records)) == records


@pytest.mark.parametrize(
    ("paragraphs", "problem"),
    [
        ([{"context": "a", "qas": [QUESTION]}, "text"], r"paragraphs\[1\] is not an object with a list 'qas': 'text'"),
        ([{"context": "a", "qas": [QUESTION]}, {"context": "b"}], r"paragraphs\[1\] is not an object with a list 'qas'"),
        ([{"context": "a", "qas": ["Who?"]}], r"paragraphs\[0\].qas\[0\] is not an object but a text: 'Who\?'"),
    ],
    ids=["a paragraph that is a text", "no questions", "a question that is a text"],
)
def test_an_article_that_is_built_otherwise_is_refused_by_its_place(tmp_path: Path, paragraphs: list[Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read(tmp_path, {"data": [article(*paragraphs), article()]})


def test_a_published_file_is_read_as_it_is(real_data: Path) -> None:
    records = list(read_file("data.train[0]", real_data / "xquad" / "en.json", None, ["question", "context", "answers"]))
    assert len(records) == 1190
    assert len({record.values["context"] for record in records}) == 240
