"""Reads what a row says about tools: their schemas, the calls that the assistant makes, and the older form of both.

Null members that a typed file such as Parquet holds are absent keys of the row: Arrow gives every object the members of all.
In JSON lines a null was written by somebody, and stays. Tests: tests/trainer/chat/test_toolrows.py.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetune.api.errors import InputError
from trainer.chat.example import Call, Message
from trainer.data.jsonrows import parse
from trainer.data.records import kind_of, shown

Fault = Callable[[str, str], InputError]
"""Returns the error for a problem and its fix, with the location of the row."""

SCHEMAS_FIX = 'write a list such as [{"type": "function", "function": {"name": "…", "parameters": {…}}}]'
CALL_FIX = 'write {"type": "function", "function": {"name": "…", "arguments": {…}}}'
NULL_VALUES = ("default", "const")
"""Members of a schema that may be null and mean it."""
CALL_KEYS = ("id", "type", "function", "name", "arguments")


def is_nothing(value: Any) -> bool:
    """Return whether a value says nothing: null, or an empty text, list or object."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def without_nulls(value: Any) -> Any:
    """Return a value of a typed file without the null members of its objects. Its maps, lists of pairs, are objects of their own keys."""
    if isinstance(value, Mapping):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if not isinstance(value, list):
        return value
    if value and all(isinstance(item, tuple) for item in value):
        return {name: without_nulls(member) for name, member in value}
    return [without_nulls(item) for item in value]


def has_nulls(value: Any) -> bool:
    """Return whether an object in the schemas has a null member that is no value, as a default may be."""
    if isinstance(value, Mapping):
        return any((member is None and name not in NULL_VALUES) or has_nulls(member) for name, member in value.items())
    return isinstance(value, list) and any(map(has_nulls, value))


def tools_of(column: str, value: Any, fault: Fault, *, typed: bool = False) -> str | None:
    """Return function schemas (given as a list or as its JSON) as JSON; None if there are none."""
    if isinstance(value, str) and value.strip():
        value = _parsed(repr(column), value, "write a list of function schemas", fault)
    elif typed:
        value = without_nulls(value)
    if is_nothing(value):
        return None
    schemas = [value] if isinstance(value, Mapping) else value
    if not isinstance(schemas, list):
        raise fault(f"{column!r} is not a list of function schemas: {shown(str(value))}", SCHEMAS_FIX)
    schemas = [_parsed(repr(column), schema, SCHEMAS_FIX, fault) if _is_object_text(schema) else schema for schema in schemas]
    if not all(isinstance(schema, Mapping) and schema for schema in schemas):
        raise fault(f"{column!r} is not a list of function schemas: {shown(str(value))}", SCHEMAS_FIX)
    return _json_of(repr(column), schemas, "write the schemas as JSON", fault)


def tools_of_functions(column: str, value: Any, fault: Fault, *, typed: bool = False) -> str | None:
    """Return the schemas of the older form, which are the bare functions, as those of tools."""
    found = tools_of(column, value, fault, typed=typed)
    if found is None:
        return None
    wrapped = [schema if "function" in schema else {"type": "function", "function": schema} for schema in json.loads(found)]
    return json.dumps(wrapped, ensure_ascii=False)


def is_tools(value: Any) -> bool:
    """Return whether a value is a list of function schemas, for a column that the job does not name as tools."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(schema, Mapping) and ("function" in schema or "name" in schema) for schema in value)
    )


def calls_of(path: str, held: Mapping[str, Any], fault: Fault, *, typed: bool = False) -> tuple[tuple[Call, ...], list[str]]:
    """Return the calls of an assistant message, in either form, and the keys of calls that nothing reads."""
    if "function_call" in held:
        if "tool_calls" in held:
            raise fault(f"{path} has tool_calls and function_call", "keep one of them")
        call, _ = _call(f"{path}.function_call", {"function": held["function_call"]}, fault, typed=typed)
        return (call,), []
    if "tool_calls" not in held:
        return (), []
    given, fix = held["tool_calls"], f"write a list such as [{CALL_FIX.removeprefix('write ')}]"
    if isinstance(given, str):
        given = _parsed(f"{path}.tool_calls", given, fix, fault)
    if not isinstance(given, list):
        raise fault(f"{path}.tool_calls is {kind_of(given)}, not a list: {shown(str(given))}", fix)
    read = [_call(f"{path}.tool_calls[{index}]", item, fault, typed=typed) for index, item in enumerate(given)]
    calls = tuple(call for call, _ in read)
    ids = [call.id for call in calls if call.id is not None]
    if len(set(ids)) < len(ids):
        raise fault(f"{path}.tool_calls has one id twice", "give each call an id of its own")
    return calls, [f"tool_calls[].{key}" for key in dict.fromkeys(key for _, unread in read for key in unread)]


def _call(path: str, item: Any, fault: Fault, *, typed: bool) -> tuple[Call, list[str]]:
    if not isinstance(item, Mapping):
        raise fault(f"{path} is {kind_of(item)}, not an object: {shown(str(item))}", CALL_FIX)
    kind = item.get("type")
    if kind not in (None, "", "function"):
        raise fault(f"{path}.type is {shown(str(kind))}", "only calls of functions can be trained on; leave such rows out")
    function = item.get("function")
    called = item if function is None else function
    if not isinstance(called, Mapping):
        raise fault(f"{path}.function is {kind_of(called)}, not an object: {shown(str(called))}", CALL_FIX)
    name = called.get("name")
    if not isinstance(name, str) or not name.strip():
        raise fault(f"{path} names no function (it has: {', '.join(map(str, called))})", CALL_FIX)
    unread = [str(key) for key, value in item.items() if key not in CALL_KEYS and not is_nothing(value)]
    if called is not item:
        unread += [str(key) for key, value in called.items() if key not in ("name", "arguments") and not is_nothing(value)]
    arguments = _arguments(f"{path}.arguments" if called is item else f"{path}.function.arguments", called.get("arguments"), fault, typed)
    return Call(valid_text(f"{path}.name", name, fault), arguments, id_of(f"{path}.id", item.get("id"), fault)), unread


def _arguments(path: str, value: Any, fault: Fault, typed: bool) -> str:
    """Return the arguments of a call as JSON of an object; none are an empty one."""
    fix = 'write an object such as {"city": "Rome"}, or its JSON as a text'
    if value is None or (isinstance(value, str) and not value.strip()) or (typed and value == []):
        return "{}"
    found = _parsed(path, value, fix, fault) if isinstance(value, str) else without_nulls(value) if typed else value
    if not isinstance(found, Mapping):
        raise fault(f"{path} is {kind_of(found)}, not an object: {shown(str(value))}", fix)
    written = _json_of(path, found, fix, fault)
    return value if isinstance(value, str) else written


def id_of(path: str, value: Any, fault: Fault) -> str | None:
    """Return the id of a call; None if it has none."""
    if is_nothing(value):
        return None
    if not isinstance(value, str):
        raise fault(f"{path} is {kind_of(value)}, not a text: {shown(str(value))}", "write the id as a text")
    return valid_text(path, value, fault)


def check_answers(column: str, messages: Sequence[Message], fault: Fault) -> None:
    """Raise `fault` unless each tool's message answers one call of the turn before, and each call at most one message."""
    called: list[Call] = []
    waiting: list[Call] = []
    for index, message in enumerate(messages):
        if message.role != "tool":
            if waiting and len(waiting) < len(called):
                fix = "write a tool message for each call of a turn"
                raise fault(f"{column} has no answer to the call {shown(str(waiting[0]))} before [{index}]", fix)
            called = waiting = list(message.calls)
            continue
        path = f"{column}[{index}]"
        if not called:
            raise fault(f"{path} is a tool's answer, but the turn before it calls no tool", "write tool_calls into the assistant's turn")
        if not waiting:
            raise fault(f"{path} answers no call: the turn before has only {len(called)}", "write one tool message for each call")
        waiting = [call for call in waiting if call is not _answered(path, message, waiting, fault)]


def _answered(path: str, message: Message, waiting: Sequence[Call], fault: Fault) -> Call:
    """Return the call that a tool's message answers: the one of its id, else the first of its name, else the first."""
    ids = [call.id for call in waiting if call.id is not None]
    if message.call_id is not None and ids:
        found = next((call for call in waiting if call.id == message.call_id), None)
        if found is None:
            fix = f"calls that wait for an answer: {', '.join(ids)}"
            raise fault(f"{path}.tool_call_id is {shown(message.call_id)}, which no call of the turn before has, or has still", fix)
        return found
    named = next((call for call in waiting if call.name == message.name), None)
    if named is None and message.name is not None and message.call_id is None:
        raise fault(
            f"{path}.name is {shown(message.name)}, which the turn before does not call, or not again", "name the tool that was called"
        )
    return named or waiting[0]


def _is_object_text(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("{")


def _parsed(name: str, text: str, fix: str, fault: Fault) -> Any:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise fault(f"{name} is not valid JSON ({error}): {shown(text)}", fix) from error


def _json_of(name: str, value: Any, fix: str, fault: Fault) -> str:
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:  # such as a date in a Parquet file
        raise fault(f"{name} holds what JSON does not have ({error}): {shown(str(value))}", fix) from error
    return valid_text(name, written, fault)


def valid_text(name: str, text: str, fault: Fault) -> str:
    """Return a text; raises `fault` if it holds half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        about = f"at character {error.start + 1}, which is not valid text: {shown(text[max(0, error.start - 20) :])}"
        raise fault(f"{name} holds half of a surrogate pair {about}", "write the whole character") from error
    return text
