"""Every key of a message that carries meaning is honored or refused; the others are named."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.trainer.fixtures.stored import examples_of
from trainer.data.records import Record
from trainer.data.rows import Example
from trainer.data.rowstore import digest_of

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}
AGAIN = {"role": "user", "content": "And?"}
LAST = {"role": "assistant", "content": "Bye"}
TOOL = {"type": "function", "function": {"name": "weather"}}


def read(*rows: dict[str, Any]) -> tuple[list[Example], list[str]]:
    records = [Record(f"line {number}", row) for number, row in enumerate(rows, 1)]
    examples, noticed = examples_of(records)
    return examples, noticed.findings("data.train[0]")


def one(*messages: dict[str, Any], **row: Any) -> Example:
    examples, _ = read({"messages": list(messages), **row})
    return examples[0]


@pytest.mark.parametrize("key", ["weight", "train", "training", "trainable", "loss"])
@pytest.mark.parametrize(
    ("value", "learned"), [(0, False), (False, False), (0.0, False), (1, True), (True, True), (None, True), ("", True)]
)
def test_a_turn_may_be_there_to_be_read_only(key: str, value: Any, learned: bool) -> None:
    example = one(USER, {**ANSWER, key: value}, AGAIN, LAST)
    assert [message.learned for message in example.messages] == [True, learned, True, True]


def test_a_weight_of_nothing_may_stand_at_any_turn() -> None:
    example = one({**USER, "weight": 0}, ANSWER)
    assert example == one(USER, ANSWER)


def test_rows_without_an_answer_to_learn_are_left_out_and_counted() -> None:
    examples, findings = read({"messages": [USER, ANSWER]}, {"messages": [USER, {**ANSWER, "weight": 0}]})
    assert len(examples) == 1
    assert findings == ["data.train[0]: 1 row has weight 0 for every answer and is left out (the first: line 2)"]
    with pytest.raises(InputError, match=r"no row of rows\.jsonl has an answer to learn"):
        read({"messages": [USER, {**ANSWER, "weight": 0}]})


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_are_read_under_each_of_their_names(key: str) -> None:
    example = one(USER, {**ANSWER, key: "hm"})
    assert [message.reasoning for message in example.messages] == [None, "hm"]
    assert one(USER, {**ANSWER, key: " "}) == one(USER, {**ANSWER, key: None}) == one(USER, ANSWER)


def test_thoughts_under_two_names_count_once() -> None:
    assert one(USER, {**ANSWER, "reasoning_content": "hm", "thinking": "hm"}) == one(USER, {**ANSWER, "thinking": "hm"})


@pytest.mark.parametrize("given", [[TOOL], TOOL, '[{"type": "function", "function": {"name": "weather"}}]'], ids=["list", "one", "JSON"])
def test_tools_go_with_the_row(given: Any) -> None:
    expected = '[{"type": "function", "function": {"name": "weather"}}]'
    assert one(USER, ANSWER, tools=given).tools == expected
    _, findings = read({"messages": [USER, ANSWER], "tools": given})
    assert findings == []
    if isinstance(given, list):
        assert read({"prompt": "Hi", "completion": "Hello", "tools": given})[0][0].tools == expected


@pytest.mark.parametrize("nothing", [None, [], "", "[]"])
def test_no_tools_are_no_tools(nothing: Any) -> None:
    assert one(USER, ANSWER, tools=nothing) == one(USER, ANSWER)


def test_tools_beside_prompts_that_are_no_schemas_are_a_column_like_others() -> None:
    examples, findings = read({"prompt": "Hi", "completion": "Hello", "tools": "a hammer"})
    assert examples[0].tools is None
    assert any("'tools' contains text in 1 of 1 row and is not read" in finding for finding in findings)


def test_parts_that_are_texts_are_joined() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": ""}, {"type": "text", "text": "lo", "cache_control": None}]
    assert one(USER, {**ANSWER, "content": parts}) == one(USER, ANSWER)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([USER, {**ANSWER, "content": ""}, AGAIN, LAST], id="an empty answer in the middle"),
        pytest.param([{**USER, "content": " \n"}, ANSWER], id="an empty question"),
        pytest.param([USER, {**ANSWER, "content": None}], id="no content"),
        pytest.param([USER, {**ANSWER, "content": []}], id="no parts"),
    ],
)
def test_rows_with_an_empty_turn_are_left_out_and_counted(messages: list[dict[str, Any]]) -> None:
    examples, findings = read({"messages": [USER, ANSWER]}, {"messages": messages})
    assert len(examples) == 1
    assert findings == ["data.train[0]: 1 row has an empty 'messages[].content' and is left out (the first: line 2)"]


def test_an_empty_system_message_says_that_there_is_none() -> None:
    assert one({"role": "system", "content": ""}, USER, ANSWER).messages[0].role == "system"


def test_keys_that_nothing_reads_are_named_once() -> None:
    rows = [{"messages": [USER, {**ANSWER, "id": str(number), "mood": "good" if number else None}]} for number in range(3)]
    assert read(*rows)[1] == ["data.train[0]: messages have unused keys: 'id' (in 3 of 3 rows), 'mood' (in 2 of 3 rows)"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        pytest.param({"weight": 0.5}, r"messages\[1\]\.weight is '0.5'; a turn is either learned or not: write 0 or 1", id="half a weight"),
        pytest.param({"role": ["user"]}, "role is .*; roles are system, user, assistant, tool", id="a list of roles"),
        pytest.param({"weight": 2}, "weight is '2'; a turn is either learned or not", id="a double weight"),
        pytest.param({"train": "no"}, "train is 'no'; a turn is either learned or not", id="a word"),
        pytest.param({"weight": 1, "train": False}, "has weight and train, which contradict each other", id="a contradiction"),
        pytest.param({"train_detail": [{"train": True}]}, "has train_detail; give the whole turn a weight", id="parts of a turn"),
        pytest.param({"name": ["Ada"]}, "name is a list, not a text", id="a list of names"),
        pytest.param({"refusal": "I cannot"}, "has refusal; write the refusal as the content", id="a refusal"),
        pytest.param({"thinking": "a", "reasoning": "b"}, "has reasoning and thinking, which have different texts", id="two thoughts"),
        pytest.param({"reasoning": ["a"]}, "reasoning is a list, not a text", id="thoughts in a list"),
        pytest.param({"role": "developer"}, "role is 'developer'; write developer as system", id="a developer"),
        pytest.param(
            {"content": [{"type": "image_url", "image_url": {"url": "u"}}]}, "is of type 'image_url'; only text parts", id="an image"
        ),
        pytest.param({"content": [{"type": "text", "text": "a", "citations": [1]}]}, "has citations; only the text", id="a part with more"),
        pytest.param({"content": [{"type": "thinking", "thinking": "hm"}]}, "is of type 'thinking'", id="a thought as a part"),
        pytest.param({"content": [{"type": "text", "text": "\ud83d"}]}, "half of a surrogate pair", id="a torn character in a part"),
        pytest.param({"content": 5}, "content is a number, not a text", id="a number"),
    ],
)
def test_what_cannot_be_honored_is_refused_with_its_place(message: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read({"messages": [USER, ANSWER]}, {"messages": [USER, {**ANSWER, **message}]})
    assert "rows.jsonl line 2: messages[1]" in str(refused.value)


@pytest.mark.parametrize("key", ["weight", "train"])
@pytest.mark.parametrize("role", ["user", "system"])
def test_a_mark_that_learns_another_turn_than_the_assistants_means_nothing_and_is_said(key: str, role: str) -> None:
    others = [{**USER, "role": role, key: True}, USER] if role == "system" else [{**USER, key: True}]
    examples, findings = read(*[{"messages": [*others, {**ANSWER, key: True}]}] * 2, {"messages": [USER, ANSWER]})
    assert [message.learned for message in examples[0].messages] == [True] * (len(others) + 1)
    assert examples[0] == read({"messages": [*({**other, key: None} for other in others), ANSWER]})[0][0]
    assert findings == [
        f"data.train[0]: '{key}' marks turns that are not the assistant's in 2 of 3 rows; only the assistant's turns are learned"
    ]


@pytest.mark.parametrize(("user", "assistant"), [("human", "gpt"), ("User", "Assistant"), ("user", "bot"), ("human", "chatgpt")])
def test_roles_may_have_the_names_of_speakers(user: str, assistant: str) -> None:
    assert one({**USER, "role": user}, {**ANSWER, "role": assistant}) == one(USER, ANSWER)
    spoken = [{"from": user, "value": USER["content"]}, {"from": assistant, "value": ANSWER["content"]}]
    assert one(*spoken) == one(USER, ANSWER)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        pytest.param({"tools": "[{"}, "'tools' is not valid JSON", id="torn JSON"),
        pytest.param({"tools": ["weather"]}, "'tools' is not a list of function schemas", id="names of tools"),
        pytest.param({"tools": [TOOL | {"example": "\ud83d"}]}, "line 1: 'tools' holds half of a surrogate pair", id="a torn character"),
        pytest.param({"tools": '[{"name": "\\ud83d"}]'}, "line 1: 'tools' holds half of a surrogate pair", id="a torn character in JSON"),
        pytest.param({"tools": [TOOL | {"since": date(2024, 3, 5)}]}, "line 1: 'tools' holds what JSON does not have", id="a date"),
        pytest.param({"tools": [TOOL | {"most": Decimal(1)}]}, "line 1: 'tools' holds what JSON does not have", id="a decimal number"),
        pytest.param({"tools": [TOOL | {"most": float("nan")}]}, "line 1: 'tools' holds what JSON does not have", id="no number"),
        pytest.param({"chat_template_kwargs": {"enable_thinking": False}}, "'chat_template_kwargs' would change", id="template settings"),
        pytest.param({"documents": [{"title": "t"}]}, "'documents' would change", id="documents"),
    ],
)
def test_a_column_for_the_template_that_is_not_honored_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        one(USER, ANSWER, **row)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(one(USER, {**ANSWER, "reasoning": "hm"}, AGAIN, LAST), id="thoughts"),
        pytest.param(one(USER, {**ANSWER, "weight": 0}, AGAIN, LAST), id="weight"),
        pytest.param(one(USER, ANSWER, AGAIN, LAST, tools=[TOOL]), id="tools"),
    ],
)
def test_rows_that_differ_in_more_than_words_are_different_rows(other: Example) -> None:
    plain = one(USER, ANSWER, AGAIN, LAST)
    assert other.to_wire() != plain.to_wire()
    assert other.id != plain.id
    assert other.prompt_key != plain.prompt_key
    assert digest_of([other]) != digest_of([plain])
