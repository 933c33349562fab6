"""Calls of tools, their answers and schemas are read as hosted services take them, or refused with their place."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from finetune.api.errors import InputError
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.stored import examples_of, prepared
from trainer.chat.example import Call, ChatExample
from trainer.chat.template import CallForm, wire_of
from trainer.data.records import Record

USER, ANSWER = {"role": "user", "content": "Is it wet in Rome?"}, {"role": "assistant", "content": "It is."}
FUNCTION = {"name": "weather", "arguments": '{"city": "Rome"}'}
CALLING = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": FUNCTION}]}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "rain"}
SCHEMA = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TWO = [{"id": name, "type": "function", "function": FUNCTION} for name in ("a", "b")]


def read(*messages: Any, typed: bool = False, **row: Any) -> tuple[ChatExample, list[str]]:
    (example,), noticed = examples_of([Record("line 1", {"messages": list(messages), **row}, typed=typed)])
    return example, noticed.findings("data.train[0]")


def calls(message: dict[str, Any], **changes: Any) -> tuple[Call, ...]:
    return read(USER, {**message, **changes})[0].messages[1].calls


def called(**function: Any) -> dict[str, Any]:
    return {**CALLING, "tool_calls": [{"id": "a", "type": "function", "function": {**FUNCTION, **function}}]}


def test_a_conversation_with_a_tool_is_read_whole() -> None:
    example, findings = read(USER, CALLING, RESULT, ANSWER, tools=[{"type": "function", "function": SCHEMA}])
    assert [message.role for message in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert example.messages[1].calls == (Call("weather", '{"city": "Rome"}', "a"),)
    assert (example.messages[2].call_id, example.messages[2].content) == ("a", "rain")
    assert findings == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param('{"city":"Rome"}', '{"city":"Rome"}', id="a text stays as written"),
        pytest.param({"city": "Rome", "days": [1, 2.0, None]}, '{"city": "Rome", "days": [1, 2.0, null]}', id="an object"),
        pytest.param({"city": None}, '{"city": null}', id="a null that was written"),
        pytest.param("", "{}", id="an empty text"),
        pytest.param(None, "{}", id="null"),
        pytest.param({}, "{}", id="none"),
    ],
)
def test_arguments_may_be_a_text_or_an_object(arguments: Any, expected: str) -> None:
    assert calls(called(arguments=arguments))[0].arguments == expected


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([{"type": "function", "function": FUNCTION}], id="without id"),
        pytest.param([FUNCTION], id="flat"),
        pytest.param([{"id": "", "function": FUNCTION, "type": None}], id="with nulls"),
        pytest.param(json.dumps([{"function": FUNCTION}]), id="as JSON"),
    ],
)
def test_calls_in_other_forms_are_the_same_call(given: Any) -> None:
    assert calls(CALLING, tool_calls=given) == (Call("weather", '{"city": "Rome"}'),)


def test_the_older_form_is_read_as_tools_and_their_calls() -> None:
    older = {"role": "assistant", "content": None, "function_call": FUNCTION}
    result = {"role": "function", "name": "weather", "content": "rain"}
    example, findings = read(USER, older, result, ANSWER, functions=[SCHEMA])
    assert example.tools == json.dumps([{"type": "function", "function": SCHEMA}])
    assert example.messages[1].calls == (Call("weather", '{"city": "Rome"}'),)
    assert (example.messages[2].role, example.messages[2].name) == ("tool", "weather")
    assert findings == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [("rain", "rain"), ("", ""), (None, ""), ([{"type": "text", "text": "ra"}, {"type": "text", "text": "in"}], "rain")],
)
def test_a_tool_answers_with_a_text_or_its_parts_or_nothing(content: Any, expected: str) -> None:
    assert read(USER, CALLING, {**RESULT, "content": content}, ANSWER)[0].messages[2].content == expected


def test_parallel_calls_are_answered_in_any_order() -> None:
    answers = [{**RESULT, "tool_call_id": name} for name in ("b", "a")]
    example, _ = read(USER, {**CALLING, "tool_calls": TWO}, *answers, ANSWER)
    assert [message.call_id for message in example.messages[2:4]] == ["b", "a"]


NULLS = {"tool_calls": None, "tool_call_id": None, "name": None, "weight": None, "function_call": None, "refusal": None, "audio": None}


def test_keys_that_are_null_are_absent() -> None:
    filled = [{**NULLS, **message} for message in (USER, CALLING, RESULT, ANSWER)]
    example, findings = read(*filled, tools=None, functions=None, parallel_tool_calls=None)
    assert example == read(USER, CALLING, RESULT, ANSWER)[0]
    assert findings == []
    assert read({**NULLS, **USER, "tool_calls": []}, {**NULLS, **ANSWER, "tool_calls": []})[0] == read(USER, ANSWER)[0]


def test_a_content_that_calls_go_without_may_be_absent() -> None:
    example, _ = read(USER, {key: value for key, value in CALLING.items() if key != "content"}, RESULT, ANSWER)
    assert example == read(USER, CALLING, RESULT, ANSWER)[0] == read(USER, {**CALLING, "content": ""}, RESULT, ANSWER)[0]


def test_a_template_gets_no_key_that_the_row_does_not_have() -> None:
    example, _ = read({**NULLS, **USER}, {**NULLS, **CALLING}, {**NULLS, **RESULT}, {**NULLS, **ANSWER})
    assert [set(turn) for turn in wire_of(example.messages)] == [
        {"role", "content"},
        {"role", "content", "tool_calls"},
        {"role", "content", "tool_call_id"},
        {"role", "content"},
    ]
    (given,) = wire_of(example.messages)[1]["tool_calls"]
    assert given == {"id": "a", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    text = wire_of(example.messages, CallForm(text=True, absent=True))[1]
    assert text["tool_calls"][0]["function"]["arguments"] == '{"city": "Rome"}'
    assert "content" not in text


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        pytest.param(
            [USER, called(arguments='{"city": ')], r"messages\[1\]\.tool_calls\[0\]\.function\.arguments is not valid JSON", id="torn"
        ),
        pytest.param([USER, called(arguments='{"a": 1, "a": 2}')], "arguments is not valid JSON .*'a' twice", id="a key twice"),
        pytest.param([USER, called(arguments='{"a": NaN}')], "arguments is not valid JSON .*NaN", id="NaN"),
        pytest.param([USER, called(arguments="[1]")], r"arguments is a list, not an object: '\[1\]'", id="a list"),
        pytest.param([USER, called(arguments='"x"')], "arguments is a text, not an object", id="a text in JSON"),
        pytest.param([USER, called(arguments=5)], "arguments is a number, not an object", id="a number"),
        pytest.param([USER, called(arguments='{"a": "\\ud83d"}')], "half of a surrogate pair", id="a torn character"),
        pytest.param([USER, called(name="")], r"tool_calls\[0\] names no function", id="no name"),
        pytest.param([USER, {**CALLING, "tool_calls": {"name": "f"}}], "tool_calls is an object, not a list", id="no list"),
        pytest.param([USER, {**CALLING, "tool_calls": ["f"]}], r"tool_calls\[0\] is a text, not an object", id="a bare name"),
        pytest.param([USER, {**CALLING, "tool_calls": [{"type": "custom", "custom": {}}]}], "type is 'custom'; only calls of", id="custom"),
        pytest.param([USER, {**CALLING, "tool_calls": [TWO[0], TWO[0]]}], "has one id twice", id="an id twice"),
        pytest.param([USER, {**CALLING, "function_call": FUNCTION}], "has tool_calls and function_call; keep one", id="both forms"),
        pytest.param([{**USER, "tool_calls": TWO}, ANSWER], r"messages\[0\] has tool_calls, but is from the user", id="a user's call"),
        pytest.param([USER, {**ANSWER, "tool_call_id": "a"}], "has tool_call_id, but is from the assistant", id="an assistant's result"),
        pytest.param([USER, RESULT, ANSWER], r"messages\[1\] is a tool's answer, but the turn before it calls no tool", id="no call"),
        pytest.param([USER, ANSWER, RESULT, ANSWER], "is a tool's answer, but the turn before", id="a plain turn before"),
        pytest.param([USER, CALLING, RESULT, RESULT, ANSWER], r"messages\[3\] answers no call: the turn before has only 1", id="twice"),
        pytest.param(
            [USER, CALLING, {**RESULT, "tool_call_id": "z"}, ANSWER], "tool_call_id is 'z', which no call .* wait for an answer: a", id="id"
        ),
        pytest.param([USER, {**CALLING, "tool_calls": TWO}, RESULT, ANSWER], r"no answer to the call .* before \[3\]", id="one of two"),
        pytest.param(
            [USER, {"role": "assistant", "function_call": FUNCTION}, {"role": "function", "name": "rain", "content": ""}, ANSWER],
            "name is 'rain', which the turn before does not call",
            id="another function",
        ),
        pytest.param([USER, CALLING, RESULT], "the last message of messages is from the tool, not the assistant", id="a result at the end"),
        pytest.param(
            [USER, CALLING, {**RESULT, "content": [{"type": "image_url", "image_url": {"url": "u"}}]}, ANSWER],
            "only text parts",
            id="image",
        ),
    ],
)
def test_what_cannot_be_honored_is_refused_with_its_place(messages: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read(*messages)
    assert "rows.jsonl line 1" in str(refused.value)
    assert refused.value.fix


def test_tools_in_both_forms_are_refused() -> None:
    with pytest.raises(InputError, match="the row has tools and functions; keep one"):
        read(USER, ANSWER, tools=[SCHEMA], functions=[SCHEMA])


def test_settings_of_servers_and_keys_of_calls_that_nothing_reads_are_said() -> None:
    odd = {**CALLING, "tool_calls": [{**CALLING["tool_calls"][0], "index": 0, "cache": "x"}]}
    _, findings = read(USER, odd, RESULT, ANSWER, parallel_tool_calls=False, tool_choice="auto")
    assert findings == [
        "data.train[0]: messages have unused keys: 'tool_calls[].cache' (in 1 of 1 row), 'tool_calls[].index' (in 1 of 1 row)",
        "data.train[0]: settings of servers are not learned, and no chat template shows them:"
        " 'parallel_tool_calls' (in 1 of 1 row), 'tool_choice' (in 1 of 1 row)",
    ]


SCHEMAS = [
    {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}}}},
    {"name": "sum", "description": "Adds.", "parameters": {"type": "object", "properties": {"of": {"type": "array"}}, "required": ["of"]}},
    {"name": "now"},
]
ROWS = [
    {
        "messages": [USER, {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": schema["name"], "arguments": arguments}}]},
                     RESULT, {**ANSWER, "weight": 1}],
        "tools": [{"type": "function", "function": schema}],
    }
    for schema, arguments in zip(SCHEMAS, [{"city": "Rome"}, {"of": [1, 2]}, {"zone": "CET"}], strict=True)
]  # fmt: skip


def job(path: Path) -> TrainConfig:
    return train_config(data={"train": [{"path": str(path)}]})


def test_rows_are_the_same_from_json_lines_and_from_parquet_which_fills_absent_keys_with_null(tmp_path: Path) -> None:
    lines, table = tmp_path / "rows.jsonl", tmp_path / "rows.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), table)
    stored = pyarrow.parquet.read_table(table).to_pylist()
    assert set(stored[0]["tools"][0]["function"]["parameters"]["properties"]) == {"city", "of"}
    assert stored[0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome", "of": None, "zone": None}

    def written(path: Path) -> list[Any]:
        return sorted(json.dumps(row.to_wire(), sort_keys=True) for row in prepared(job(path)).train)

    def content(path: Path) -> list[Any]:
        rows = (row.to_wire() for row in prepared(job(path)).train)
        return sorted(json.dumps([turns, json.loads(tools)], sort_keys=True) for turns, tools in rows)

    assert "null" not in "".join(json.dumps(json.loads(row.tools or "")) for row in prepared(job(table)).train)
    assert len(written(table)) == len(ROWS)
    assert content(table) == content(lines)


@pytest.mark.parametrize("arguments", [{}, {"city": "Rome"}, {"city": None, "zone": "CET"}])
def test_arguments_that_parquet_holds_as_a_map_are_an_object(arguments: dict[str, Any], tmp_path: Path) -> None:
    """A map has keys of its own in each row, so that a null in it was written by somebody."""
    function = pyarrow.struct({"name": pyarrow.string(), "arguments": pyarrow.map_(pyarrow.string(), pyarrow.string())})
    calls = pyarrow.list_(pyarrow.struct({"function": function}))
    messages = pyarrow.list_(pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string(), "tool_calls": calls}))
    made = {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": list(arguments.items())}}]}
    table = pyarrow.Table.from_pylist([{"messages": [USER, made]}], pyarrow.schema({"messages": messages}))
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    (row,) = prepared(job(tmp_path / "rows.parquet")).train
    assert json.loads(row.messages[1].calls[0].arguments) == arguments


def test_a_null_that_json_lines_write_into_a_schema_stays_and_is_said() -> None:
    tools = [{"type": "function", "function": {**SCHEMA, "description": None, "parameters": {"default": None}}}]
    example, findings = read(USER, ANSWER, tools=tools)
    assert json.loads(example.tools or "") == tools
    assert findings == ["data.train[0]: 'tools' have null members in 1 of 1 row; they are shown to the model as written"]
    assert json.loads(read(USER, ANSWER, tools=tools, typed=True)[0].tools or "") == [
        {"type": "function", "function": {"name": "weather", "parameters": {}}}
    ]
    assert json.loads(read(USER, ANSWER, tools=json.dumps(tools), typed=True)[0].tools or "") == tools
