"""Reads the messages of a conversation, and the tools that it offers: every meaningful key is either used or refused.

Tests: tests/trainer/chat/test_messages.py.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetune.api.errors import InputError
from trainer.chat.example import Message
from trainer.data.jsonrows import parse
from trainer.data.records import kind_of, shown

ROLES = ("system", "user", "assistant")
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "chatbot": "assistant", "model": "assistant", "system": "system",
}  # fmt: skip
"""Names of speakers, as in from/value conversations, and their roles."""
TOOL_ROLE = "results of tools cannot be trained on; leave such rows out"
ROLE_ADVICE = {"tool": TOOL_ROLE, "function": TOOL_ROLE, "developer": "write developer as system"}
WEIGHT_KEYS = ("weight", "train", "training", "trainable", "loss")
"""Keys that say whether an assistant turn is learned, as different tools name them."""
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys for the assistant's thoughts before the answer."""
REFUSED_KEYS = {
    "tool_calls": "calls of tools cannot be trained on; leave such rows out",
    "function_call": "calls of functions cannot be trained on; leave such rows out",
    "tool_call_id": "results of tools cannot be trained on; leave such rows out",
    "name": "write the name into the content, or leave the key out",
    "refusal": "write the refusal as the content",
    "train_detail": "give the whole turn a weight of 0 or 1",
    "prefix": "write the whole answer as the assistant's content",
    "audio": "only text can be trained on",
    "images": "only text can be trained on",
}
TEXT_PARTS = ("text", "input_text", "output_text")

Fault = Callable[[str, str], InputError]
"""Returns the error for a problem and its fix, with the location of the row."""


def message_of(path: str, item: Any, fault: Fault) -> tuple[Message, list[str], list[str]]:
    """Return a message, its unused keys, and the keys that mark it as learned although it is not the assistant's.

    A content of null is read as an empty text.
    """
    fix = 'write {"role": "user", "content": "…"}'
    if not isinstance(item, Mapping):
        raise fault(f"{path} is {kind_of(item)}, not an object: {shown(str(item))}", fix)
    held = {str(key): value for key, value in item.items() if not _is_nothing(value)}
    for key, advice in REFUSED_KEYS.items():
        if key in held:
            raise fault(f"{path} has {key}", advice)
    for key in ("role", "content"):
        if key not in item:
            raise fault(f"{path} has no {key!r} (it has: {', '.join(map(str, item))})", fix)
    role = SPEAKERS.get(item["role"].lower()) if isinstance(item["role"], str) else None
    if role is None:
        advice = ROLE_ADVICE.get(str(item["role"]).lower(), f"roles are {', '.join(ROLES)}")
        raise fault(f"{path}.role is {shown(str(item['role']))}", advice)
    message = Message(
        role, _content(path, item["content"], fault), _thoughts(path, role, held, fault), _is_learned(path, role, held, fault)
    )
    unread = [key for key in held if key not in ("role", "content", *WEIGHT_KEYS, *THOUGHT_KEYS)]
    return message, unread, [key for key in WEIGHT_KEYS if role != "assistant" and held.get(key)]


def check_order(column: str, messages: Sequence[Message], fault: Fault) -> None:
    """Raise `fault` unless the turns begin with the user (after an optional system message) and end with the assistant."""
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if "system" in turns:
        raise fault(f"{column} has a system message after its first message", "put it first, or leave it out")
    if not turns or turns[0] != "user":
        raise fault(f"{column} does not begin with the user", "begin with a user message, after a system message if any")
    if turns[-1] != "assistant":
        fix = "end every conversation with the answer that the model should learn"
        raise fault(f"the last message of {column} is from the {turns[-1]}, not the assistant", fix)


def has_empty_turn(messages: Sequence[Message]) -> bool:
    """Return whether a user or assistant message is empty; an empty system message means that there is none."""
    return any(message.role != "system" and not message.content.strip() for message in messages)


def tools_of(column: str, value: Any, fault: Fault) -> str | None:
    """Return function schemas (given as a list or as its JSON) as JSON; None if there are none."""
    if isinstance(value, str) and value.strip():
        try:
            value = parse(value)
        except (ValueError, RecursionError) as error:
            raise fault(f"{column!r} is not valid JSON ({error}): {shown(str(value))}", "write a list of function schemas") from error
    if _is_nothing(value):
        return None
    schemas = [value] if isinstance(value, Mapping) else value
    if not isinstance(schemas, list) or not all(isinstance(schema, Mapping) and schema for schema in schemas):
        fix = 'write a list such as [{"type": "function", "function": {"name": "…", "parameters": {…}}}]'
        raise fault(f"{column!r} is not a list of function schemas: {shown(str(value))}", fix)
    return _json_of(column, schemas, fault)


def _json_of(column: str, schemas: list[Any], fault: Fault) -> str:
    try:
        written = json.dumps(schemas, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:  # such as a date in a Parquet file
        raise fault(f"{column!r} holds what JSON does not have ({error}): {shown(str(schemas))}", "write the schemas as JSON") from error
    return _of_whole_characters(repr(column), written, fault)


def is_tools(value: Any) -> bool:
    """Return whether a value is a list of function schemas, for a column that the job does not name as tools."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(schema, Mapping) and ("function" in schema or "name" in schema) for schema in value)
    )


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _content(path: str, value: Any, fault: Fault) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join(_part(f"{path}.content[{index}]", part, fault) for index, part in enumerate(value))
    return _text(f"{path}.content", value, fault)


def _part(path: str, part: Any, fault: Fault) -> str:
    """Return the text of a part. Parts are joined without a separator, as chat templates do."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in TEXT_PARTS:
        what = f"of type {shown(str(kind))}" if kind else kind_of(part)
        raise fault(f"{path} is {what}", "only text parts are supported; write the content as one text")
    if "text" not in part:
        raise fault(f"{path} has no 'text' (it has: {', '.join(map(str, part))})", 'write {"type": "text", "text": "…"}')
    if more := [str(key) for key, value in part.items() if key not in ("type", "text") and not _is_nothing(value)]:
        raise fault(f"{path} has {', '.join(more)}", "only the text of a part is read: leave the rest out")
    return "" if part["text"] is None else _text(f"{path}.text", part["text"], fault)


def _text(path: str, value: Any, fault: Fault) -> str:
    if not isinstance(value, str):
        raise fault(f"{path} is {kind_of(value)}, not a text: {shown(str(value))}", "write its content as a text")
    return _of_whole_characters(path, value, fault)


def _of_whole_characters(name: str, text: str, fault: Fault) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        about = f"at character {error.start + 1}, which is not valid text: {shown(text[max(0, error.start - 20) :])}"
        raise fault(f"{name} holds half of a surrogate pair {about}", "write the whole character") from error
    return text


def _thoughts(path: str, role: str, held: Mapping[str, Any], fault: Fault) -> str | None:
    found = {key: _text(f"{path}.{key}", held[key], fault) for key in THOUGHT_KEYS if key in held}
    found = {key: text for key, text in found.items() if text.strip()}
    if not found:
        return None
    if role != "assistant":
        raise fault(f"{path} has {next(iter(found))}, but only the assistant's turns may have thoughts", "leave it out")
    if len(set(found.values())) > 1:
        raise fault(f"{path} has {' and '.join(found)}, which have different texts", "keep one of them")
    return next(iter(found.values()))


def _is_learned(path: str, role: str, held: Mapping[str, Any], fault: Fault) -> bool:
    found = {key: held[key] for key in WEIGHT_KEYS if key in held}
    for key, value in found.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise fault(f"{path}.{key} is {shown(str(value))}", "a turn is either learned or not: write 0 or 1, or false or true")
    if role != "assistant":
        return True
    if len({bool(value) for value in found.values()}) > 1:
        raise fault(f"{path} has {' and '.join(found)}, which contradict each other", "keep one of them")
    return all(bool(value) for value in found.values())
