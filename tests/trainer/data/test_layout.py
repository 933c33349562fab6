"""Which columns hold what follows from the job, the usual names, or an unambiguous pair; else the error proposes what to write."""

import re
from typing import Any

import pytest
import yaml

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from tests.trainer.fixtures.stored import examples_of
from trainer.data.layout import FirstRows, Layout, check_layout
from trainer.data.records import Record
from trainer.tasks.base import Task
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING

FIELD = "data.train[0]"
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def first_rows(*rows: dict[str, Any]) -> FirstRows:
    return FirstRows([Record(f"line {number}", row) for number, row in enumerate(rows, start=1)])


def layout(*names: str, task: Task[Any] = CHAT, **columns: Any) -> Layout:
    return task.layout(FIELD, Columns.model_validate(columns), first_rows(dict.fromkeys(names, "words")))


@pytest.mark.parametrize(
    ("names", "prompt", "completion", "addition"),
    [
        (["instruction", "input", "output"], "instruction", "output", "input"),
        (["instruction", "output"], "instruction", "output", None),
        (["instruction", "context", "response", "category"], "instruction", "response", "context"),
        (["id", "question", "answer"], "question", "answer", None),
        (["prompt", "response"], "prompt", "response", None),
        (["query", "response"], "query", "response", None),
        (["input", "output"], "input", "output", None),
        (["question", "context", "answer"], "question", "answer", None),
    ],
)
def test_an_unambiguous_pair_of_well_known_names_is_read(names: list[str], prompt: str, completion: str, addition: str | None) -> None:
    assert layout(*names) == Layout({"prompt": prompt, "completion": completion}, addition=addition, guessed=True)


@pytest.mark.parametrize("names", [["question", "query", "answer"], ["prompt", "output", "response"], ["question", "text"]])
def test_an_ambiguous_pair_is_not_guessed(names: list[str]) -> None:
    assert layout(*names) == Layout({"prompt": "prompt", "completion": "completion"})


def test_the_default_names_go_before_others() -> None:
    assert layout("prompt", "completion", "question", "answer", "messages") == Layout({"prompt": "prompt", "completion": "completion"})
    assert layout("prompt", "prompt_id", "messages") == Layout({"messages": "messages"})


@pytest.mark.parametrize("names", [["content"], ["document", "title"]])
def test_a_text_may_have_another_well_known_name(names: list[str]) -> None:
    assert layout(*names, task=LANGUAGE_MODELING) == Layout({"text": names[0]}, guessed=True)
    assert layout(*names, "text", task=LANGUAGE_MODELING) == Layout({"text": "text"})


PROPOSALS = [
    pytest.param([{"q": "a?", "a": "b"}], "{prompt: q, completion: a}", id="two texts"),
    pytest.param([{"id": "7", "User": "a?", "lang": "en", "Bot": "b"}], "{prompt: User, completion: Bot}", id="known in capitals"),
    pytest.param([{"prompt": "a?", "reply": "b"}], "{completion: reply}", id="one is right"),
    pytest.param([{"prompt": "a?", "chosen": "b", "rejected": "c"}], "{completion: chosen}", id="preferences"),
    pytest.param([{"chosen": TURNS, "rejected": TURNS}], "{messages: chosen}", id="preferred conversations"),
    pytest.param([{"id": 1, "dialogue": TURNS}], "{messages: dialogue}", id="conversation"),
    pytest.param(
        [{"id": "7", "lang": "en", "version": "A long text of many words that is no number.", "summary": "b"}],
        "{prompt: version, completion: summary}",
        id="long text under a name of metadata",
    ),
    pytest.param([{"source": "a", "target": "b"}], "{prompt: source, completion: target}", id="translation"),
    pytest.param([{"answer": "b", "words": "a"}], "{prompt: words, completion: answer}", id="answer first"),
    pytest.param([{"my question": "a?", "no": "b"}], '{prompt: "my question", completion: "no"}', id="quotes"),
]


@pytest.mark.parametrize(("rows", "columns"), PROPOSALS)
def test_what_the_error_proposes_is_accepted(rows: list[dict[str, Any]], columns: str) -> None:
    records = [Record("line 1", row) for row in rows]
    with pytest.raises(InputError, match=rf"is not a column of rows\.jsonl line 1 \(it has: .*\); write columns: {re.escape(columns)}"):
        examples_of(records)
    assert examples_of(records, yaml.safe_load(columns))[0]


FIXES = [
    pytest.param(
        [{"id": "7", "title": "t", "context": "c", "question": "q", "answers": {"text": ["a"]}}],
        CHAT,
        "write columns: {prompt: question, completion: …} with the missing column; other columns must be converted to text",
        id="no answer",
    ),
    pytest.param([{"chosen": "a", "rejected": "b"}], CHAT, "write columns: {prompt: …, completion: chosen}", id="no question"),
    pytest.param([{"prompt; completion": "a"}], CHAT, 'give delimiter: ";"', id="delimiter"),
    pytest.param([{"text": "a"}], CHAT, "use task: language-modeling for it", id="plain text"),
    pytest.param([{"Prompt": "a", "completion": "b"}], CHAT, "did you mean columns.prompt: Prompt?", id="capital"),
    pytest.param([{"n": 1}], CHAT, "no column contains suitable text; write rows with one", id="nothing fits"),
    pytest.param([{"prompt": "a", "completion": "b"}], LANGUAGE_MODELING, "use task: chat, else write columns: {text: prompt}", id="chat"),
    pytest.param([{"id": "7", "title": "a", "body": "a b"}], LANGUAGE_MODELING, "write columns: {text: body}", id="other name"),
]


@pytest.mark.parametrize(("rows", "task", "words"), FIXES)
def test_a_missing_column_gets_advice_that_fits(rows: list[dict[str, Any]], task: Task[Any], words: str) -> None:
    first = first_rows(*rows)
    with pytest.raises(InputError) as caught:
        check_layout(FIELD, task.layout(FIELD, Columns(), first), first, "rows.csv", task.column_advice)
    assert words in caught.value.fix


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"What is it?": "a", "An apple": "b"}, "the first line seems to be a row: put a line with the names of the columns before it"),
        ({"hello": "a", "world": "b"}, "{prompt: hello, completion: world}; if the first line is a row already, put a line"),
    ],
)
def test_a_table_without_a_header_line_is_reported(row: dict[str, Any], words: str) -> None:
    first = FirstRows([Record("line 2", row, headed=True)])
    with pytest.raises(InputError) as caught:
        check_layout(FIELD, CHAT.layout(FIELD, Columns(), first), first, "rows.csv", CHAT.column_advice)
    assert words in caught.value.fix


def test_a_column_that_may_be_several_is_reported_with_the_other_delimiter() -> None:
    first = FirstRows([Record("line 2", {"a|prompt": "1|x", "completion": "y"}, headed=True)])
    with pytest.raises(InputError, match=r'columns\.prompt: "a\|prompt"\? Or give delimiter: "\|", if that separates the cells'):
        check_layout(FIELD, CHAT.layout(FIELD, Columns(), first), first, "rows.csv", CHAT.column_advice)


def test_an_odd_first_row_does_not_decide() -> None:
    first = first_rows({"question": "a"}, {"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"})
    assert CHAT.layout(FIELD, Columns(), first) == Layout({"prompt": "prompt", "completion": "completion"})
    check_layout(FIELD, Layout({"prompt": "prompt", "completion": "completion"}), first, "rows.jsonl", CHAT.column_advice)
