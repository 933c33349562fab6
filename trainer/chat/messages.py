"""Reads the messages of a conversation: every meaningful key is either used or refused.

What concerns tools is in toolrows.py.

Tests: tests/trainer/chat/test_messages.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.chat.example import Message
from trainer.chat.toolrows import Fault, calls_of, check_answers, id_of, is_nothing, valid_text
from trainer.data.records import kind_of, shown

ROLES = ("system", "user", "assistant", "tool")
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "chatbot": "assistant", "model": "assistant", "system": "system", "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
"""Names of speakers, as in from/value conversations, and their roles."""
ROLE_ADVICE = {"developer": "write developer as system"}
WEIGHT_KEYS = ("weight", "train", "training", "trainable", "loss")
"""Keys that say whether an assistant turn is learned, as different tools name them."""
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys for the assistant's thoughts before the answer."""
REFUSED_KEYS = {
    "refusal": "write the refusal as the content",
    "train_detail": "give the whole turn a weight of 0 or 1",
    "prefix": "write the whole answer as the assistant's content",
    "audio": "only text can be trained on",
    "images": "only text can be trained on",
}
CALL_KEYS = ("tool_calls", "function_call")
"""Keys for the calls of tools, of which the second is the older one."""
TEXT_PARTS = ("text", "input_text", "output_text")


def message_of(path: str, item: Any, fault: Fault, *, typed: bool = False) -> tuple[Message, list[str], list[str]]:
    """Return a message, its unused keys, and the keys that mark it as learned although it is not the assistant's.

    A content of null is read as an empty text. `typed`: the message is from a file whose objects all have the same members.
    """
    fix = 'write {"role": "user", "content": "…"}'
    if not isinstance(item, Mapping):
        raise fault(f"{path} is {kind_of(item)}, not an object: {shown(str(item))}", fix)
    held = {str(key): value for key, value in item.items() if not is_nothing(value)}
    for key, advice in REFUSED_KEYS.items():
        if key in held:
            raise fault(f"{path} has {key}", advice)
    role = SPEAKERS.get(item["role"].lower()) if isinstance(item.get("role"), str) else None
    calls, odd = calls_of(path, held, fault, typed=typed)
    for key in ("role", "content"):
        if key not in item and not (key == "content" and calls):
            raise fault(f"{path} has no {key!r} (it has: {', '.join(map(str, item))})", fix)
    if role is None:
        advice = ROLE_ADVICE.get(str(item["role"]).lower(), f"roles are {', '.join(ROLES)}")
        raise fault(f"{path}.role is {shown(str(item['role']))}", advice)
    for key, owner in (*((key, "assistant") for key in CALL_KEYS), ("tool_call_id", "tool")):
        if key in held and role != owner:
            raise fault(f"{path} has {key}, but is from the {role}", f"only messages of the {owner} have it: leave it out")
    message = Message(
        role,
        _content(path, item.get("content"), fault),
        _thoughts(path, role, held, fault),
        _is_learned(path, role, held, fault),
        calls,
        id_of(f"{path}.tool_call_id", held.get("tool_call_id"), fault),
        _text(f"{path}.name", held["name"], fault) if "name" in held else None,
    )
    known = ("role", "content", "tool_call_id", "name", *CALL_KEYS, *WEIGHT_KEYS, *THOUGHT_KEYS)
    return (
        message,
        [*odd, *(key for key in held if key not in known)],
        [key for key in WEIGHT_KEYS if role != "assistant" and held.get(key)],
    )


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
    check_answers(column, messages, fault)


def has_empty_turn(messages: Sequence[Message]) -> bool:
    """Return whether a user's or assistant's message is empty: it has neither words nor calls.

    An empty system message means that there is none; a tool may return nothing.
    """
    spoken = (message for message in messages if message.role in ("user", "assistant"))
    return any(not message.content.strip() and not message.calls for message in spoken)


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
    if more := [str(key) for key, value in part.items() if key not in ("type", "text") and not is_nothing(value)]:
        raise fault(f"{path} has {', '.join(more)}", "only the text of a part is read: leave the rest out")
    return "" if part["text"] is None else _text(f"{path}.text", part["text"], fault)


def _text(path: str, value: Any, fault: Fault) -> str:
    if not isinstance(value, str):
        raise fault(f"{path} is {kind_of(value)}, not a text: {shown(str(value))}", "write its content as a text")
    return valid_text(path, value, fault)


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
