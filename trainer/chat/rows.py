"""Reads a row as a conversation: from a list of messages, or from prompt and completion with optional system, history and tools.

Tests: tests/trainer/preflight/test_columns.py, tests/trainer/chat/test_messages.py.
"""

import json
from contextlib import suppress
from typing import Any

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from trainer.chat.example import ChatExample, Message
from trainer.chat.messages import SPEAKERS, check_order, has_empty_turn, message_of
from trainer.chat.toolrows import has_nulls, is_nothing, is_tools, tools_of, tools_of_functions
from trainer.data.jsonobject import is_turns_by_member
from trainer.data.jsonrows import parse
from trainer.data.layout import FirstRows, Layout, refuse_columns
from trainer.data.noticed import Remark
from trainer.data.pairs import DEFAULTS, pair_advice, pair_layout
from trainer.data.reading import Row
from trainer.data.records import kind_of, shown
from trainer.data.rows import Skipped

CONVERSATION_NAMES = ("messages", "conversations", "conversation")
SYSTEM_NAMES = ("system", "system_prompt")
HISTORY_NAME = "history"
TOOLS_NAME, FUNCTIONS_NAME = "tools", "functions"
CALL_SPEAKERS = ("function_call", "tool_call")
"""Speakers of from/value conversations whose value is a call of a tool, or a list of them, in JSON."""
CALL_SETTINGS = ("parallel_tool_calls", "tool_choice", "function_call")
"""Columns that hosted services read beside messages: they bind a server, and no chat template shows them."""
HISTORY_FIX = 'write [["earlier question", "earlier answer"]], or columns: {ignore: [history]}'
UNLEARNED = Skipped(reason="weight 0 for every answer", none_left="has an answer to learn: they have weight 0, or no words")
UNUSED_KEYS = Remark("messages have unused keys: ")
SETTINGS = Remark("settings of servers are not learned, and no chat template shows them: ")
NULL_MEMBERS = Remark(each="{name} have null members in {rows}", after="; they are shown to the model as written")
MARKED_TURNS = Remark(each="{name} marks turns that are not the assistant's in {rows}", after="; only the assistant's turns are learned")


def conversation_layout(field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
    """Return which columns hold messages, or prompt and completion."""
    system = {"system": given.system} if given.system is not None else {}
    if given.messages is not None:
        refuse_columns(field, given, ("completion",), "a list of messages holds the answers too")
        return Layout(system | {"messages": given.messages})
    if given.prompt is None and given.completion is None and first is not None and not set(DEFAULTS) <= set(names):
        found = next((name for name in CONVERSATION_NAMES if name in names), None)
        if found is not None and (found == "messages" or first.holds_objects(found)):
            return Layout(system | {"messages": found})
    return pair_layout(given, names)


def conversation_advice(layout: Layout, column: str, first: FirstRows) -> str:
    """Return a fix for rows that lack a required column."""
    turns = [name for name in first.names if first.holds_turns(name)]
    instead = {"messages": "chosen" if "chosen" in turns else turns[0]} if turns else None
    return pair_advice(layout, column, first, instead)


def conversation_in(row: Row) -> ChatExample | Skipped:
    """Return the conversation in a row; raises InputError for one that cannot be learned as written."""
    return _of_messages(row) if row.layout.get("messages") else _of_pair(row)


def with_answer(messages: Any, content: str) -> Any:
    """Return messages, as a row holds them, with an answer after the last question; anything else unchanged."""
    turns = _parsed(messages)
    if is_turns_by_member(turns):
        turns = [dict(zip(turns, members, strict=True)) for members in zip(*turns.values(), strict=True)]
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        return messages
    last = turns[-1]
    has_from = "from" in last and "role" not in last
    speaker = last.get("from" if has_from else "role")
    if SPEAKERS.get(str(speaker).lower()) == "assistant" or (has_from and speaker in CALL_SPEAKERS):
        return messages
    return [*turns, {"from": "gpt", "value": content} if has_from else {"role": "assistant", "content": content}]


def _of_pair(row: Row) -> ChatExample | Skipped:
    row.refuse_meaning(answers=True)
    prompt, completion = row.words("prompt"), row.words("completion")
    if isinstance(completion, Skipped):
        return completion
    if isinstance(prompt, Skipped):
        return prompt
    asked = Message("user", row.with_addition(prompt))
    return _example(row, (*_system(row), *_history(row), asked, Message("assistant", completion)))


def _of_messages(row: Row) -> ChatExample | Skipped:
    row.refuse_meaning(answers=True, messages=True)
    column = row.layout.columns["messages"]
    value = _turns(row, column, row.value("messages"))
    if value is None or value == []:
        return Skipped(column)
    if not isinstance(value, list):
        fix = 'it must be a list such as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
        raise row.fault("messages", f"{column!r} is {kind_of(value)}, not a list: {shown(str(value))}", fix)

    def fault(problem: str, fix: str) -> InputError:
        return row.fault("messages", problem, fix)

    said = [_said(row, f"{column}[{index}]", item) for index, item in enumerate(value)]
    typed = row.record.typed and not isinstance(row.value("messages"), str)
    read = [message_of(f"{column}[{index}]", item, fault, typed=typed) for index, item in enumerate(said)]
    messages = tuple(message for message, *_ in read)
    messages = (*_system(row, messages[0]), *messages)
    check_order(column, messages, fault)
    if has_empty_turn(messages):
        return Skipped(f"{column}[].content")
    if not any(message.learned for message in messages if message.role == "assistant"):
        return UNLEARNED
    row.noticed.remark(UNUSED_KEYS, {key for _, unread, _ in read for key in unread})
    row.noticed.remark(MARKED_TURNS, {key for *_, marked in read for key in marked})
    return _example(row, messages)


def _example(row: Row, messages: tuple[Message, ...]) -> ChatExample:
    """Return a conversation with the tools that the row offers."""
    found = {name: tools for name in (TOOLS_NAME, FUNCTIONS_NAME) if (tools := _schemas(row, name)) is not None}
    if len(found) > 1:
        raise row.fault(
            "messages", f"the row has {TOOLS_NAME} and {FUNCTIONS_NAME}", f"keep one, or columns: {{ignore: [{FUNCTIONS_NAME}]}}"
        )
    tools = next(iter(found.values()), None)
    if tools is not None and has_nulls(json.loads(tools)):
        row.noticed.remark(NULL_MEMBERS, found)
    for name in CALL_SETTINGS:
        if row.is_free(name) and not is_nothing(row.record.values.get(name)) and (tools is not None or row.layout.get("messages")):
            row.read.add(name)
            row.noticed.remark(SETTINGS, (name,))
    return ChatExample.of(row.origin, messages, tools)


def _schemas(row: Row, name: str) -> str | None:
    """Return the function schemas in a column, as JSON."""
    value, has_messages = row.record.values.get(name), row.layout.get("messages") is not None
    if not has_messages:
        value = _parsed(value)
    if not row.is_free(name) or not (has_messages or is_tools(value)):
        return None

    def fault(problem: str, fix: str) -> InputError:
        return row.fault("messages", problem, f"{fix}, or columns: {{ignore: [{name}]}} if the model should not see them")

    row.read.add(name)
    return (tools_of if name == TOOLS_NAME else tools_of_functions)(name, value, fault, typed=row.record.typed)


def _turns(row: Row, column: str, value: Any) -> Any:
    """Decode messages stored as JSON, or as one list per member; return anything else unchanged."""
    if is_turns_by_member(value):
        return [dict(zip(value, members, strict=True)) for members in zip(*value.values(), strict=True)]
    return row.list_of("messages", column, value, "write the list as JSON, or as a list in a file of JSON lines or Parquet")


def _said(row: Row, path: str, item: Any) -> Any:
    """Convert a {from, value} message to {role, content}; return anything else unchanged."""
    if not isinstance(item, dict) or "from" not in item or "value" not in item or "role" in item:
        return item
    speaker = item["from"]
    others = {key: member for key, member in item.items() if key not in ("from", "value")}
    if speaker in CALL_SPEAKERS and isinstance(item["value"], str):
        calls = item["value"].strip()
        return {"role": "assistant", "content": None, "tool_calls": calls if calls.startswith("[") else f"[{calls}]", **others}
    role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        fix = f"speakers are {', '.join((*SPEAKERS, *CALL_SPEAKERS))}; write turns of others as those of one of them, or leave the row out"
        raise row.fault("messages", f"{path}.from is {shown(str(speaker))}", fix)
    return {"role": role, "content": item["value"], **others}


def _system(row: Row, first: Message | None = None) -> tuple[Message, ...]:
    """Return the system message from the row's column, if any; `first` is the first of a list of messages."""
    named = row.layout.get("system")
    column = named or next((name for name in SYSTEM_NAMES if name in row.record.values and row.is_free(name)), None)
    words: str | Skipped | None = None
    if named is not None:
        words = row.words("system")
    elif column is not None:
        words = row.optional(column)
        if words:
            row.noticed.used[column, "is the system message"] += 1
    if not isinstance(words, str) or (first is not None and first.role == "system" and first.content.strip() == words.strip()):
        return ()
    if first is not None and first.role == "system":
        fix = "keep one of them, or " + ("remove columns.system" if named else f"write columns: {{ignore: [{column}]}}")
        raise row.fault("system", f"{column!r} is a system message, and the messages begin with another one", fix)
    return (Message("system", words),)


def _history(row: Row) -> tuple[Message, ...]:
    """Return the earlier turns, stored as pairs of texts in a column beside prompt and completion."""
    if not row.is_free(HISTORY_NAME):
        return ()
    value = row.list_of("prompt", HISTORY_NAME, row.record.values.get(HISTORY_NAME), HISTORY_FIX)
    if not isinstance(value, list):
        return ()
    row.read.add(HISTORY_NAME)
    turns: list[Message] = []
    for index, pair in enumerate(value):
        path = f"{HISTORY_NAME}[{index}]"
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(words, str) and words.strip() for words in pair):
            raise row.fault("prompt", f"{path} is not a pair of texts: {shown(str(pair))}", HISTORY_FIX)
        texts = [row.text("prompt", path, words) for words in pair]
        turns += [Message("user", texts[0]), Message("assistant", texts[1])]
    if turns:
        row.noticed.used[HISTORY_NAME, "is read as the turns before the prompt"] += 1
    return tuple(turns)


def _parsed(value: Any) -> Any:
    """Decode a JSON list or object, as tables store them; return anything else unchanged."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            return parse(value)
    return value
