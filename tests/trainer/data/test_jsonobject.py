"""A file with a single object is a row or a wrapper around rows; a wrapper is taken off only where nothing is lost, and said."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.sources import Source
from trainer.data.jsonobject import single_object
from trainer.preflight.prepare import read_source
from trainer.tasks.base import Task
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING

ITEMS = [{"text": "c1"}, {"text": "c2"}]
PAIRS = [{"prompt": "p", "completion": "c"}]


def rows(value: dict[str, Any], *columns: str) -> list[dict[str, Any]]:
    return [record.values for record in single_object("data.train[0]", Path("a.json"), 1, value, columns)]


def texts(path: Path, task: Task[Any], **columns: str) -> tuple[list[str], list[str]]:
    source = Source.model_validate({"path": str(path), **({"columns": columns} if columns else {})})
    findings: list[str] = []
    examples = list(read_source("data.train[0]", source, task, findings))
    words = [example.text if task is LANGUAGE_MODELING else "|".join(turn.content for turn in example.messages) for example in examples]
    return words, findings


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"version": "1.1"},
        {"name": "faq", "description": "Questions of users", "license": "mit", "split": "train", "created_at": "2024-01-01", "set_id": "7"},
        {"count": 2, "info": {"year": 2024}, "empty": ""},
    ],
)
def test_a_list_beside_what_describes_the_file_is_unwrapped(beside: dict[str, Any]) -> None:
    assert rows({**beside, "data": ITEMS}) == ITEMS


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        pytest.param({"title": "t", "body": "the body", "comments": ITEMS}, (), id="a document with comments"),
        pytest.param({"title": "t", "comments": ITEMS}, (), id="a title alone"),
        pytest.param({"product_description": "It …", "reviews": ITEMS}, (), id="a description of something else"),
        pytest.param({"name": "n", "comments": ITEMS}, ("name",), id="a column that the job names"),
        pytest.param({"reply": None, "examples": PAIRS}, ("prompt", "reply"), id="a named column without text"),
        pytest.param({"body": "b", "comments": ITEMS, "links": ITEMS}, (), id="a document with two lists"),
    ],
)
def test_an_object_with_words_of_its_own_or_a_named_column_is_a_row(value: dict[str, Any], columns: tuple[str, ...]) -> None:
    assert rows(value, *columns) == [value]


def test_documents_keep_their_bodies_whatever_lists_they_have(tmp_path: Path) -> None:
    for number in range(2):
        document = {"title": "t", "body": f"body {number}", "comments": ITEMS}
        (tmp_path / f"{number}.json").write_text(json.dumps(document, indent=number))
    assert texts(tmp_path, LANGUAGE_MODELING, text="body")[0] == ["body 0", "body 1"]
    with pytest.raises(InputError, match=r"'text' is not a column of .*\(it has: title, body, comments\); write columns: \{text: body\}"):
        texts(tmp_path, LANGUAGE_MODELING)


def test_the_columns_of_the_job_decide_that_an_object_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text(json.dumps({"user_question": "q", "reply": "r", "examples": PAIRS}))
    assert texts(path, CHAT, prompt="user_question", completion="reply")[0] == ["q|r"]


def test_the_list_that_was_unwrapped_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"version": 1, "data": PAIRS}))
    assert texts(path, CHAT) == (
        ["p|c"],
        ["data.train[0]: the file is one object; the items of its list 'data' are read as the rows, and nothing else in it"],
    )


@pytest.mark.parametrize("pairs", [PAIRS, [{"question": "q", "answer": "a"}]])
def test_a_wrapper_with_other_words_is_refused_with_the_list_that_may_be_meant(tmp_path: Path, pairs: list[dict[str, str]]) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"greeting": "Welcome", "faq": pairs}))
    with pytest.raises(InputError, match=r"if the rows are the items of the list 'faq', write these as the rows"):
        texts(path, CHAT)
