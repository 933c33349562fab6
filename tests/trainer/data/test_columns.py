"""Records become examples; what a column holds is checked, and the message names source, row and column."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.data.builders import chat, text
from trainer.config.errors import InputError
from trainer.config.sections import Task
from trainer.config.sources import Columns
from trainer.data import Example, Message, digest_of
from trainer.data.columns import make_id, prompt_id, read_examples
from trainer.data.formats import Record

FIELD = "data.train[0]"
USER, ASSISTANT, SYSTEM = ({"role": role, "content": f"{role} says"} for role in ("user", "assistant", "system"))


def read(*rows: dict[str, Any], task: Task = Task.CHAT, **columns: str) -> list[Example]:
    records = [Record(f"line {number}", row) for number, row in enumerate(rows, start=1)]
    return read_examples(FIELD, records, task, Columns.model_validate(columns) if columns else None, "rows.jsonl")[0]


def turns(example: Example) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages or ()]


def test_prompt_and_completion_are_the_default_columns_of_chat() -> None:
    (example,) = read({"prompt": " Hi ", "completion": "Hello\n", "other": 5})
    assert turns(example) == [("user", " Hi "), ("assistant", "Hello\n")]
    assert example.origin == "data.train[0] line 1"


def test_columns_of_other_names_are_read_where_the_job_names_them() -> None:
    (example,) = read({"q": "Hi", "a": "Hello", "s": "Be brief."}, prompt="q", completion="a", system="s")
    assert turns(example) == [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")]


def test_a_row_without_system_message_has_none() -> None:
    with_one, without = read({"prompt": "a", "completion": "b", "s": "x"}, {"prompt": "c", "completion": "d", "s": None}, system="s")
    assert [len(turns(example)) for example in (with_one, without)] == [3, 2]


@pytest.mark.parametrize("columns", [{}, {"messages": "messages"}], ids=["found", "named"])
def test_a_list_of_messages_is_a_conversation(columns: dict[str, str]) -> None:
    (example,) = read({"messages": [SYSTEM, USER, ASSISTANT, USER, ASSISTANT]}, **columns)
    assert [role for role, _ in turns(example)] == ["system", "user", "assistant", "user", "assistant"]


def test_language_modeling_reads_the_column_text() -> None:
    (example,) = read({"text": "Once upon a time"}, task=Task.LANGUAGE_MODELING)
    assert (example.text, example.messages) == ("Once upon a time", None)


def test_rows_without_words_are_left_out_and_counted() -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": " "}, {"prompt": None, "completion": "d"}]
    records = [Record(f"line {number}", row) for number, row in enumerate(rows, start=1)]
    examples, skipped = read_examples(FIELD, records, Task.CHAT, None, "rows.jsonl")
    assert len(examples) == 1
    assert (skipped.count, skipped.first, skipped.columns) == (2, "line 2", {"prompt", "completion"})


GOOD = {"prompt": "a", "completion": "b"}
FAULTS: list[Any] = [
    pytest.param(
        [{"question": "a", "completion": "b"}],
        {"prompt": "questoin"},
        "columns.prompt",
        "'questoin' is not a column of rows.jsonl line 1 (it has: question, completion); did you mean columns.prompt: question?",
        id="misspelt",
    ),
    pytest.param([{"Prompt": "a", "completion": "b"}], {}, "columns.prompt", "did you mean columns.prompt: Prompt?", id="capital"),
    pytest.param(
        [{"prompt": "a", "label": "b"}],
        {},
        "columns.completion",
        "(it has: prompt, label); name the right one as columns.completion",
        id="missing",
    ),
    pytest.param([GOOD, {"prompt": "a"}], {}, "columns.completion", "rows.jsonl line 2 (it has: prompt)", id="missing in one row"),
    pytest.param([{"prompt;completion": "a;b"}], {}, "columns.prompt", "save it with commas", id="semicolons"),
    pytest.param(
        [{"prompt": "a", "completion": 5}], {}, "columns.completion", "line 1: 'completion' is a number, not a text: '5'", id="number"
    ),
    pytest.param([{"prompt": True, "completion": "b"}], {}, "columns.prompt", "is true or false, not a text", id="boolean"),
    pytest.param([{"prompt": ["a"], "completion": "b"}], {}, "columns.prompt", "is a list, not a text", id="list"),
    pytest.param(
        [{"prompt": "\ud83d", "completion": "b"}], {}, "columns.prompt", "half of a surrogate pair at character 1", id="surrogate"
    ),
    pytest.param([], {}, "", "rows.jsonl has no rows", id="empty set"),
    pytest.param([{"prompt": "a", "completion": ""}] * 2, {}, "", "every row of rows.jsonl has an empty 'completion'", id="all rows empty"),
    pytest.param([{"messages": "Hi"}], {}, "columns.messages", "'messages' is a text, not a list: 'Hi'", id="messages are a text"),
    pytest.param([{"messages": ["Hi"]}], {}, "columns.messages", "messages[0] is a text, not an object", id="a message is a text"),
    pytest.param(
        [{"messages": [{"from": "human", "value": "Hi"}]}],
        {},
        "columns.messages",
        "messages[0] has no 'role' (it has: from, value)",
        id="other names",
    ),
    pytest.param(
        [{"messages": [{"role": "bot", "content": "Hi"}]}],
        {},
        "columns.messages",
        "messages[0].role is 'bot'; roles are system, user",
        id="role",
    ),
    pytest.param(
        [{"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [1]}]}],
        {},
        "columns.messages",
        "has tool_calls",
        id="tools",
    ),
    pytest.param(
        [{"messages": [{"role": "user", "content": [{"type": "text"}]}, ASSISTANT]}],
        {},
        "columns.messages",
        "parts of content are not supported",
        id="parts",
    ),
    pytest.param(
        [{"messages": [USER, ASSISTANT, USER]}],
        {},
        "columns.messages",
        "the last message of messages is not the assistant's but the user's",
        id="last",
    ),
    pytest.param([{"messages": [ASSISTANT]}], {}, "columns.messages", "does not begin with the user", id="first"),
    pytest.param([{"messages": [SYSTEM]}], {}, "columns.messages", "does not begin with the user", id="system only"),
    pytest.param(
        [{"messages": [USER, SYSTEM, ASSISTANT]}], {}, "columns.messages", "a system message after its first message", id="late system"
    ),
    pytest.param(
        [GOOD],
        {"text": "prompt"},
        "columns.text",
        "has no meaning here: task chat reads prompt and completion, or messages",
        id="text in chat",
    ),
    pytest.param(
        [GOOD],
        {"messages": "m", "system": "s"},
        "columns.system",
        "a list of messages holds the whole conversation",
        id="system and messages",
    ),
]


@pytest.mark.parametrize(("rows", "columns", "field", "words"), FAULTS)
def test_a_faulty_row_is_told_by_field_row_and_column(rows: list[dict[str, Any]], columns: dict[str, str], field: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(*rows, **columns)
    assert caught.value.field == (f"{FIELD}.{field}" if field else FIELD)
    assert words in str(caught.value)
    assert caught.value.fix


def test_columns_of_a_chat_have_no_meaning_for_plain_text() -> None:
    with pytest.raises(InputError, match=r"columns\.prompt: has no meaning here: task language-modeling reads one column, text"):
        read({"text": "a"}, task=Task.LANGUAGE_MODELING, prompt="text")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_composition_and_white_space_make_no_other_row(words: str) -> None:
    assert make_id(None, unicodedata.normalize("NFD", words)) == make_id(None, unicodedata.normalize("NFC", words))
    assert make_id(None, f"  {words}\n") == make_id(None, words)


def test_the_digest_of_rows_tells_what_their_ids_do_not() -> None:
    rows = [chat("a", "b", origin="line 1"), text("if a:\n    b()")]
    others = [[chat("a", "b "), rows[1]], [rows[0], text("if a:\nb()")], rows[::-1], rows[:1], [chat("a", "b", "a", "b"), rows[1]]]
    assert digest_of([chat("a", "b", origin="line 7"), rows[1]]) == digest_of(rows)
    assert len({digest_of(rows), *map(digest_of, others)}) == 1 + len(others)


def test_rows_of_other_words_roles_or_borders_have_other_ids() -> None:
    examples = [chat("a", "b"), chat("a", "B"), chat("a b", "b"), chat("a", "b", system="b"), text("a b"), text("ab")]
    assert len({example.id for example in examples}) == len(examples)


def test_a_prompt_is_everything_before_the_last_answer() -> None:
    assert prompt_id(chat("a", "b")) == prompt_id(chat("a", "c"))
    assert prompt_id(chat("a", "b")) != prompt_id(chat("a", "b", "c", "d"))
    assert prompt_id(chat("a", "b")) != prompt_id(chat("a", "b", system="s"))
    assert prompt_id(chat("a", "b")) == make_id((Message("user", "a"),), None)
