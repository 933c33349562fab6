"""Records become examples; what a column holds is checked, and the message names source, row and column."""

import datetime
import json
import unicodedata
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from tests.trainer.fixtures.examples import chat, text
from tests.trainer.fixtures.stored import examples_of
from trainer.chat.example import ChatExample
from trainer.data.records import Record
from trainer.data.rows import hash_of
from trainer.data.rowstore import digest_of
from trainer.tasks.base import Task
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING

FIELD = "data.train[0]"
USER, ASSISTANT, SYSTEM = ({"role": role, "content": f"{role} says"} for role in ("user", "assistant", "system"))


def read(*rows: dict[str, Any], task: Task[Any] = CHAT, typed: bool = False, **columns: Any) -> list[Any]:
    records = [Record(f"line {number}", row, typed=typed) for number, row in enumerate(rows, start=1)]
    return examples_of(records, columns, task=task)[0]


def turns(example: ChatExample) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages]


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
    (example,) = read({"text": "Once upon a time"}, task=LANGUAGE_MODELING)
    assert example == text("Once upon a time", "data.train[0] line 1")


def test_rows_without_words_are_left_out_and_counted() -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": " "}, {"prompt": None, "completion": "d"}]
    records = [Record(f"line {number}", row) for number, row in enumerate(rows, start=1)]
    examples, skipped = examples_of(records)
    assert len(examples) == 1
    assert (skipped.count, skipped.first, skipped.columns) == (2, "line 2", {"prompt", "completion"})


GOOD = {"prompt": "a", "completion": "b"}
FAULTS: list[Any] = [
    pytest.param(
        [{"question": "a", "completion": "b"}],
        {"prompt": "questoin"},
        "columns.prompt",
        "'questoin' is not a column of rows.jsonl line 1 (it has: question, completion); did you mean columns.prompt: question?",
        id="misspelled",
    ),
    pytest.param([{"Prompt": "a", "completion": "b"}], {}, "columns.prompt", "did you mean columns.prompt: Prompt?", id="capital"),
    pytest.param(
        [{"prompt": "a", "label": "b"}],
        {},
        "columns.completion",
        "(it has: prompt, label); write columns: {completion: label}",
        id="missing",
    ),
    pytest.param(
        [GOOD, {"prompt": "a"}],
        {},
        "",
        "rows.jsonl line 2 has no 'completion' (it has: prompt); write it as in the other rows, or leave the row out",
        id="missing in one row",
    ),
    pytest.param(
        [{"prompt": "a", "complation": "b"}, GOOD],
        {},
        "",
        "line 1 has no 'completion' (it has: prompt, complation); write 'complation' as 'completion' in this row",
        id="misspelled in the first row",
    ),
    pytest.param([{"prompt^completion": "a^b"}], {}, "columns.prompt", 'give delimiter: "^"', id="another delimiter"),
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
        [{"messages": [{"from": "narrator", "value": "Hi"}]}],
        {},
        "columns.messages",
        "messages[0].from is 'narrator'; speakers are human, user, gpt, assistant",
        id="unknown speaker",
    ),
    pytest.param(
        [{"conversation": [{"human": "a", "assistant": "b"}]}],
        {},
        "columns.messages",
        "conversation[0] has no 'role' (it has: human, assistant)",
        id="other keys",
    ),
    pytest.param([{"messages": '[{"role": "user"'}], {}, "columns.messages", "'messages' is not valid JSON", id="messages as torn JSON"),
    pytest.param(
        [{"messages": [SYSTEM, USER, ASSISTANT], "system": "Be brief."}],
        {},
        "columns.system",
        "'system' is a system message, and the messages begin with another one; keep one of them",
        id="two system messages",
    ),
    pytest.param(
        [{**GOOD, "system": 5}],
        {},
        "",
        "line 1: 'system' is a number, not a text: '5'; write it as a text, \"5\", or write columns: {ignore: [system]}",
        id="system message that is a number",
    ),
    pytest.param([{**GOOD, "history": ["a", "b"]}], {}, "columns.prompt", "history[0] is not a pair of texts: 'a'", id="history"),
    pytest.param([{**GOOD, "weight": 0}], {}, "", "'weight' gives the row the weight 0, but all rows have the same weight", id="weight"),
    pytest.param([{**GOOD, "weight": "0.5"}], {}, "", "'weight' gives the row the weight 0.5", id="weight as text"),
    pytest.param([{**GOOD, "history": "[['a', 'b']]"}], {}, "columns.prompt", "'history' is not valid JSON", id="history as Python"),
    pytest.param(
        [{"messages": [USER, ASSISTANT], "tools": "hammer, saw"}],
        {},
        "columns.messages",
        "or columns: {ignore: [tools]} if the model should not see them",
        id="tools that are not schemas",
    ),
    pytest.param([GOOD, {**GOOD, "label": False}], {}, "", "line 2: 'label' is false, which marks a bad answer", id="bad answer"),
    pytest.param([{**GOOD, "reasoning": "hm"}], {}, "", "'reasoning' contains thoughts, which would not be learned", id="thoughts"),
    pytest.param(
        [{"messages": [{"role": "narrator", "content": "Hi"}]}],
        {},
        "columns.messages",
        "messages[0].role is 'narrator'; roles are system, user",
        id="role",
    ),
    pytest.param(
        [{"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [1]}]}],
        {},
        "columns.messages",
        "messages[1].tool_calls[0] is a number, not an object",
        id="tools",
    ),
    pytest.param(
        [{"messages": [{"role": "user", "content": [{"type": "text"}]}, ASSISTANT]}],
        {},
        "columns.messages",
        "messages[0].content[0] has no 'text' (it has: type)",
        id="parts",
    ),
    pytest.param(
        [{"messages": [USER, ASSISTANT, USER]}],
        {},
        "columns.messages",
        "the last message of messages is from the user, not the assistant",
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
        [GOOD], {"messages": "m", "completion": "c"}, "columns.completion", "a list of messages holds the answers too", id="answers twice"
    ),
]


@pytest.mark.parametrize(("rows", "columns", "field", "words"), FAULTS)
def test_a_faulty_row_is_reported_by_field_row_and_column(
    rows: list[dict[str, Any]], columns: dict[str, str], field: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(*rows, **columns)
    assert caught.value.field == (f"{FIELD}.{field}" if field else FIELD)
    assert words in str(caught.value)
    assert caught.value.fix


TURNS = [USER, ASSISTANT]
KINDS: list[Any] = [
    pytest.param(5, False, 'write it as a text, "5", or name', id="number in JSON"),
    pytest.param(True, False, 'write it as a text, "true", or name', id="truth in JSON"),
    pytest.param(5, True, "turn the column into text when the file is made, or name", id="number in Parquet"),
    pytest.param(Decimal("1.5"), True, "turn the column into text", id="decimal in Parquet"),
    pytest.param(b"words", True, "is bytes, not a text: \"b'words'\"; write it as UTF-8 text when the file is made", id="bytes"),
    pytest.param(datetime.date(2024, 5, 1), True, 'write it as a text, such as "2024-05-01"', id="date"),
    pytest.param(["a", "b"], False, "write one text in its place, or a row for each item", id="list of texts"),
    pytest.param({"text": "a", "start": 1}, False, "write one text in its place; it has the members text, start", id="object"),
    pytest.param(TURNS, False, "it is a conversation: write columns: {messages: prompt} instead", id="conversation"),
    pytest.param([USER], False, "it is a part of a conversation: join question and answer", id="half a conversation"),
]


@pytest.mark.parametrize(("value", "typed", "words"), KINDS)
def test_advice_fits_what_stands_in_place_of_a_text(value: Any, typed: bool, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read({"prompt": value, "completion": "b"}, {"prompt": value, "completion": "c"}, typed=typed)
    assert words in str(caught.value)
    assert "double quotes" not in str(caught.value)


def test_the_advice_for_a_conversation_in_prompt_is_accepted() -> None:
    assert [role for role, _ in turns(read({"prompt": TURNS, "completion": ""}, messages="prompt")[0])] == ["user", "assistant"]


@pytest.mark.parametrize(
    "rows", [[GOOD, {"prompt": 5, "completion": "b"}], [{"prompt": 5, "completion": "b"}, GOOD]], ids=["last", "first"]
)
def test_one_odd_row_gets_advice_for_that_row(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError) as caught:
        read(*rows)
    assert f"rows.jsonl line {1 + rows.index({'prompt': 5, 'completion': 'b'})}: 'prompt' is a number" in caught.value.problem
    assert caught.value.fix == 'write it as a text, "5"'


FROM_VALUE = [
    {"from": "system", "value": "s"},
    {"from": "human", "value": "a"},
    {"from": "gpt", "value": "b"},
    {"from": "User", "value": "c"},
    {"from": "assistant", "value": "d"},
]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        pytest.param({"conversations": FROM_VALUE}, {}, id="found"),
        pytest.param({"messages": FROM_VALUE}, {}, id="under messages"),
        pytest.param({"chat": FROM_VALUE}, {"messages": "chat"}, id="named"),
        pytest.param({"conversations": json.dumps(FROM_VALUE)}, {}, id="as JSON in a table"),
        pytest.param({"conversations": {key: [turn[key] for turn in FROM_VALUE] for key in ("from", "value")}}, {}, id="by member"),
        pytest.param({"conversations": FROM_VALUE[1:], "system": "s"}, {}, id="system beside it"),
        pytest.param({"conversations": FROM_VALUE[1:], "s": "s"}, {"messages": "conversations", "system": "s"}, id="system named"),
    ],
)
def test_a_conversation_of_from_and_value_is_read_as_messages(row: dict[str, Any], columns: dict[str, str]) -> None:
    (example,) = read(row, **columns)
    assert turns(example) == [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]


def test_role_and_content_are_read_under_conversations() -> None:
    (example,) = read({"conversations": TURNS})
    assert [role for role, _ in turns(example)] == ["user", "assistant"]


def test_what_an_instruction_is_about_is_written_after_it() -> None:
    rows = [{"instruction": "Translate.", "input": "dog", "output": "chien"}, {"instruction": "Greet.", "input": "", "output": "Hi"}]
    for columns in ({}, {"prompt": "instruction", "completion": "output"}):
        with_input, without = read(*rows, **columns)
        assert turns(with_input)[0] == ("user", "Translate.\n\ndog")
        assert turns(without)[0] == ("user", "Greet.")
    assert turns(read(rows[0], ignore=["input"])[0])[0] == ("user", "Translate.")


def test_a_system_column_and_earlier_turns_are_honored() -> None:
    (example,) = read({**GOOD, "system": "s", "history": [["c", "d"], ["e", "f"]]})
    assert turns(example) == [
        ("system", "s"),
        ("user", "c"),
        ("assistant", "d"),
        ("user", "e"),
        ("assistant", "f"),
        ("user", "a"),
        ("assistant", "b"),
    ]
    (plain,) = read({**GOOD, "system": None, "history": []})
    assert turns(plain) == [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(
    "row", [{"weight": 0}, {"label": False}, {"reasoning": "hm"}, {"history": ["a"]}, {"system": 5}], ids=lambda row: next(iter(row))
)
def test_a_column_that_is_not_wanted_is_neither_used_nor_refused(row: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read({**GOOD, **row})
    assert turns(read({**GOOD, **row}, ignore=[*row])[0]) == [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(
    "row",
    [
        *({"weight": weight} for weight in (1, 1.0, "1.00", " 1 ", "1e0", Decimal("1.00"), True, "", None)),
        {"label": True},
        {"reasoning": " "},
        {"history": None},
    ],
)
def test_a_column_that_changes_nothing_is_no_fault(row: dict[str, Any]) -> None:
    assert turns(read({**GOOD, **row})[0]) == [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize("label", [False, True, 0, "spam"])
def test_a_label_beside_a_text_marks_no_answer(label: Any) -> None:
    (example,) = read({"text": "a doc", "label": label}, task=LANGUAGE_MODELING)
    assert example.text == "a doc"


def test_lists_that_a_table_holds_as_json_are_read() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    (example,) = read({**GOOD, "history": '[["c", "d"]]', "tools": json.dumps(tools)})
    assert turns(example) == [("user", "c"), ("assistant", "d"), ("user", "a"), ("assistant", "b")]
    assert json.loads(example.tools or "") == tools


def test_each_file_of_a_source_has_a_layout_of_its_own() -> None:
    records = [Record("line 2", {"prompt": "a", "completion": "b"}, file="a.csv"), Record("line 1", {"messages": TURNS}, file="b/c.jsonl")]
    examples, _ = examples_of(records, name="folder")
    assert [example.origin for example in examples] == ["data.train[0] a.csv line 2", "data.train[0] b/c.jsonl line 1"]
    records.append(Record("line 2", {"messages": 5}, file="b/c.jsonl"))
    with pytest.raises(InputError, match=r"folder b/c\.jsonl line 2: 'messages' is a number"):
        examples_of(records, name="folder")


def test_columns_of_a_chat_have_no_meaning_for_plain_text() -> None:
    with pytest.raises(InputError, match=r"columns\.prompt: has no meaning here: task language-modeling reads text"):
        read({"text": "a"}, task=LANGUAGE_MODELING, prompt="text")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_composition_and_white_space_make_no_other_row(words: str) -> None:
    assert hash_of([unicodedata.normalize("NFD", words)]) == hash_of([unicodedata.normalize("NFC", words)])
    assert hash_of([f"  {words}\n"]) == hash_of([words])


def test_the_digest_of_rows_shows_what_their_ids_do_not() -> None:
    rows = [chat("a", "b", origin="line 1"), text("if a:\n    b()")]
    others = [[chat("a", "b "), rows[1]], [rows[0], text("if a:\nb()")], rows[::-1], rows[:1], [chat("a", "b", "a", "b"), rows[1]]]
    assert digest_of([chat("a", "b", origin="line 7"), rows[1]]) == digest_of(rows)
    assert len({digest_of(rows), *map(digest_of, others)}) == 1 + len(others)


def test_rows_of_other_words_roles_or_borders_have_other_ids() -> None:
    examples = [chat("a", "b"), chat("a", "B"), chat("a b", "b"), chat("a", "b", system="b"), text("a b"), text("ab")]
    assert len({example.id for example in examples}) == len(examples)


def test_a_prompt_is_everything_before_the_last_answer() -> None:
    assert chat("a", "b").prompt_key == chat("a", "c").prompt_key
    assert chat("a", "b").prompt_key != chat("a", "b", "c", "d").prompt_key
    assert chat("a", "b").prompt_key != chat("a", "b", system="s").prompt_key
    assert chat("a", "b").prompt_key == hash_of(["user", "a"])
