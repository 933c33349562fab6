"""Questions about texts are read in each form that files have them in; what is wrong with an answer is said by row."""

import json
from typing import Any

import pytest

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from trainer.data.layout import FirstRows
from trainer.data.noticed import Noticed
from trainer.data.reading import Row
from trainer.data.records import Record
from trainer.data.rows import Skipped
from trainer.text.questionrows import question_advice, question_in, question_layout
from trainer.text.questions import ELSEWHERE, Answer, QuestionExample

CONTEXT = "Ann came on Monday. Ben came on Tuesday, and Ann left."
TWICE = {"text": ["Ann", "Ben"], "answer_start": [45, 20]}


def row_of(values: dict[str, Any], **given: Any) -> Row:
    record = Record("line 1", values)
    first, columns = FirstRows([record]), Columns.model_validate(given)
    names = [name for name in first.names if name not in (columns.ignore or ())]
    layout = question_layout(columns, names)
    return Row("data.train[0]", "rows.jsonl", record, layout, first, frozenset(columns.ignore or ()), Noticed())


def read(answers: Any, **more: Any) -> QuestionExample:
    found = question_in(row_of({"question": "Who came?", "context": CONTEXT, "answers": answers, **more}))
    assert isinstance(found, QuestionExample)
    return found


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ("Ann", [("Ann", 0)]),
        (["Ann", "Ben"], [("Ann", 0), ("Ben", 20)]),
        (TWICE, [("Ann", 45), ("Ben", 20)]),
        ([{"text": "Ann", "answer_start": 45}, {"text": "Ben", "answer_start": 20}], [("Ann", 45), ("Ben", 20)]),
        ({"text": "Ben", "answer_start": 20}, [("Ben", 20)]),
        (json.dumps(TWICE), [("Ann", 45), ("Ben", 20)]),
        ('["Ann", "Ben"]', [("Ann", 0), ("Ben", 20)]),
        ("[sic] Ann", [("[sic] Ann", ELSEWHERE)]),
        (["Ann", "Ann", " Ann "], [("Ann", 0)]),
        (["Carl"], [("Carl", ELSEWHERE)]),
        ({"text": ["Ann"]}, [("Ann", 0)]),
        (["", "Ben"], [("Ben", 20)]),
        ([], []),
        ({"text": [], "answer_start": []}, []),
        ("[]", []),
    ],
)
def test_answers_are_read_in_every_form(answers: Any, found: list[tuple[str, int]]) -> None:
    assert read(answers).answers == tuple(Answer(*answer) for answer in found)


def test_a_column_says_where_a_single_answer_begins() -> None:
    assert read("Ann", answer_start=45).answers == (Answer("Ann", 45),)
    assert read("Ann", answer_start="45").answers == (Answer("Ann", 45),)
    assert read("Ann", answer_start=None).answers == (Answer("Ann", 0),)


@pytest.mark.parametrize(("start", "place"), [(43, 45), (47, 45), (2, 0), (500, 45), (28, 45)])
def test_an_answer_that_is_elsewhere_is_taken_at_the_nearest_place_and_reported(start: int, place: int) -> None:
    row = row_of({"question": "Who?", "context": CONTEXT, "answers": {"text": ["Ann"], "answer_start": [start]}})
    found = question_in(row)
    assert isinstance(found, QuestionExample)
    assert found.answers == (Answer("Ann", place),)
    row.noticed.rows = 1
    finding = "data.train[0]: 'answer_start' is not where the answer begins in 1 of 1 row; the nearest place that has it is taken"
    assert finding in row.noticed.findings("data.train[0]")


def test_spaces_around_an_answer_do_not_move_it() -> None:
    assert read({"text": [" Ben "], "answer_start": [19]}).answers == (Answer("Ben", 20),)


def test_an_answer_with_a_place_that_the_context_does_not_hold_is_refused() -> None:
    with pytest.raises(InputError, match="the context does not hold the answer 'Carl', which should begin at character 20") as caught:
        read({"text": ["Carl"], "answer_start": [20]})
    assert "rows.jsonl line 1" in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (3, "'answers' is a number: '3'"),
        ([3], r"answers\[0\] is a number"),
        ([["Ann"]], r"answers\[0\] is a list"),
        ({"answer": "Ann"}, r"answers has no 'text' \(it has: answer\)"),
        ({"text": ["Ann"], "answer_start": []}, "answers has 1 texts, but not as many in answer_start"),
        ({"text": ["Ann"], "answer_start": ["here"]}, "answers.answer_start is not a number of characters: 'here'"),
        ({"text": ["Ann"], "answer_start": [-2]}, "answers.answer_start is not a number of characters"),
    ],
)
def test_answers_of_another_form_are_refused_by_what_they_are(answers: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read(answers)


def test_a_question_without_answer_says_so() -> None:
    assert read([], is_impossible=True).answers == ()
    assert read(None, is_impossible=True).answers == ()
    assert read(["Ann"], is_impossible=False).answers == (Answer("Ann", 0),)
    with pytest.raises(InputError, match="is_impossible is true, but 'answers' holds 'Ann'"):
        read(["Ann"], is_impossible=True)


@pytest.mark.parametrize(
    "values",
    [{"answers": None}, {"answers": ""}, {"answers": [" "]}, {"answers": [], "is_impossible": False}, {"question": " "}, {"context": None}],
)
def test_a_row_with_an_empty_column_is_left_out(values: dict[str, Any]) -> None:
    found = question_in(row_of({"question": "Who?", "context": CONTEXT, "answers": ["Ann"]} | values))
    assert found == Skipped(next(iter(values)))


@pytest.mark.parametrize(
    ("names", "columns", "guessed"),
    [
        (["question", "context", "answers"], ["question", "context", "answers"], False),
        (["id", "question", "context", "answer"], ["question", "context", "answer"], False),
        (["instruction", "input", "output"], ["instruction", "input", "output"], True),
        (["instruction", "context", "response", "category"], ["instruction", "context", "response"], True),
        (["question", "passage", "answers"], ["question", "passage", "answers"], True),
        (["question", "context", "input", "answers", "answer"], ["question", "context", "answers"], False),
        (["query", "instruction", "context", "answers"], ["question", "context", "answers"], False),
    ],
)
def test_columns_are_found_by_their_names_where_these_are_unambiguous(names: list[str], columns: list[str], guessed: bool) -> None:
    layout = question_layout(Columns(), names)
    assert list(layout.columns.values()) == columns
    assert layout.guessed == guessed


def test_columns_that_the_job_names_are_taken() -> None:
    layout = question_layout(Columns(question="q", answers="gold"), ["q", "context", "gold", "answers"])
    assert dict(layout.columns) == {"question": "q", "context": "context", "answers": "gold"}
    assert not layout.guessed


def test_advice_names_columns_with_text() -> None:
    first = FirstRows([Record("line 1", {"q": "Who came?", "text": CONTEXT, "answer": "Ann came"})])
    layout = question_layout(Columns(), first.names)
    assert question_advice(layout, "question", first).startswith("write columns: {context: text, question: q}")


def test_a_question_keeps_its_content_and_is_split_by_its_context() -> None:
    example, other = read(["Ann", "Carl"]), read("Ben")
    assert QuestionExample.from_wire(example.id, example.origin, json.loads(json.dumps(example.to_wire()))) == example
    assert example.prompt_key == other.prompt_key
    assert example.asked_key == other.asked_key
    assert example.asked_key != question_in_other_words().asked_key
    assert (example.answer, example.span, read([]).answer, read([]).span) == ("Ann", Answer("Ann", 0), "unanswerable", None)
    assert read(["Carl", "Ben"]).span == Answer("Ben", 20)


def question_in_other_words() -> QuestionExample:
    found = question_in(row_of({"question": "Which people came?", "context": CONTEXT, "answers": ["Ann"]}))
    assert isinstance(found, QuestionExample)
    return found
