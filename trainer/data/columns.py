"""Turns records into examples: finds the columns that hold prompt, completion, messages or text, and checks what is in them.

Rows without words are left out and counted; a value of the wrong kind is the user's to mend. Tests:
tests/trainer/data/test_columns.py.
"""

import difflib
import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.config.errors import InputError
from trainer.config.sections import Task
from trainer.config.sources import Columns
from trainer.data.formats import Record, kind_of, shown
from trainer.data.rows import Example, Message

ROLES = ("system", "user", "assistant")


@dataclass
class Skipped:
    """Rows that were left out because a column was empty."""

    count: int = 0
    first: str = ""
    columns: set[str] = field(default_factory=set)

    def note(self, place: str, column: str) -> None:
        """Count a row."""
        self.count, self.first = self.count + 1, self.first or place
        self.columns.add(column)


@dataclass(frozen=True)
class Layout:
    """Which columns of one source hold what. Either `messages`, or `prompt` and `completion`, or `text` is set."""

    prompt: str | None = None
    completion: str | None = None
    system: str | None = None
    messages: str | None = None
    text: str | None = None

    def needed(self) -> dict[str, str]:
        """Return the columns that every row must have, by the field that names them."""
        return {name: column for name, column in vars(self).items() if column is not None}


def layout_of(field: str, task: Task, columns: Columns | None, present: Iterable[str] | None) -> Layout:
    """Return the layout of a source; `present` are the columns of its first row, None before it was read."""
    given = columns or Columns()
    if task is Task.LANGUAGE_MODELING:
        _refuse_columns(field, given, ("prompt", "completion", "system", "messages"), f"task {task} reads one column, text")
        return Layout(text=given.text or "text")
    _refuse_columns(field, given, ("text",), f"task {task} reads prompt and completion, or messages")
    if given.messages is not None:
        _refuse_columns(field, given, ("completion", "system"), "a list of messages holds the whole conversation")
        return Layout(messages=given.messages)
    found = set(present or ())
    if given.prompt is None and given.completion is None and "messages" in found and "prompt" not in found:
        return Layout(messages="messages")
    return Layout(prompt=given.prompt or "prompt", completion=given.completion or "completion", system=given.system)


def read_examples(field: str, records: Iterable[Record], task: Task, columns: Columns | None, name: str) -> tuple[list[Example], Skipped]:
    """Return the examples of one source, and which rows were left out as empty. `name` is the file or data set, for messages."""
    examples: list[Example] = []
    skipped = Skipped()
    layout: Layout | None = None
    for record in records:
        if layout is None:
            layout = layout_of(field, task, columns, record.values)
        row = _Row(field, name, record, layout)
        example = row.text_example() if layout.text else row.messages_example() if layout.messages else row.pair_example()
        if example is None:
            skipped.note(record.place, row.empty_column)
        else:
            examples.append(example)
    if not examples:
        problem = f"{name} has no rows" if not skipped.count else f"every row of {name} has an empty {_either(skipped.columns)}"
        raise InputError(field, problem, "give at least one row with words in it")
    return examples, skipped


def make_id(messages: Sequence[Message] | None, text: str | None, tools: str | None = None) -> str:
    """Return the hash of a content; Unicode's composition and the amount of white space make no difference."""
    parts = [text or ""] if messages is None else [part for message in messages for part in message.parts()]
    parts += [] if tools is None else [tools]
    canonical = "\0".join(" ".join(unicodedata.normalize("NFC", part).split()) for part in parts)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def prompt_id(example: Example) -> str:
    """Return the hash of what is asked: everything before the last answer; of a text the whole."""
    return example.id if example.messages is None else make_id(example.asked, None, example.tools)


class _Row:
    """One record on its way to an example."""

    def __init__(self, field: str, name: str, record: Record, layout: Layout) -> None:
        self.field, self.name, self.record, self.layout = field, name, record, layout
        self.origin = f"{field} {record.place}"
        self.empty_column = ""

    def text_example(self) -> Example | None:
        text = self._words("text")
        return None if text is None else Example(make_id(None, text), self.origin, None, text)

    def pair_example(self) -> Example | None:
        prompt, completion = self._words("prompt"), self._words("completion")
        if prompt is None or completion is None:
            return None
        system = self._words("system") if self.layout.system else None
        start = (Message("system", system),) if system else ()
        messages = (*start, Message("user", prompt), Message("assistant", completion))
        return Example(make_id(messages, None), self.origin, messages)

    def messages_example(self) -> Example | None:
        column = self.layout.messages or ""
        value = self._value("messages")
        if value is None or value == []:
            self.empty_column = column
            return None
        if not isinstance(value, list):
            fix = 'it must be a list such as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
            raise self._fault("messages", f"{column!r} is {kind_of(value)}, not a list: {shown(str(value))}", fix)
        messages = tuple(self._message(f"{column}[{index}]", item) for index, item in enumerate(value))
        self._check_order(column, messages)
        if not messages[-1].content.strip():
            self.empty_column = column
            return None
        return Example(make_id(messages, None), self.origin, messages)

    def _message(self, path: str, item: Any) -> Message:
        fix = 'write {"role": "user", "content": "…"}'
        if not isinstance(item, dict):
            raise self._fault("messages", f"{path} is {kind_of(item)}, not an object: {shown(str(item))}", fix)
        for key in ("role", "content"):
            if key not in item:
                raise self._fault("messages", f"{path} has no {key!r} (it has: {', '.join(map(str, item))})", fix)
        role, content = item["role"], item["content"]
        if role not in ROLES:
            raise self._fault("messages", f"{path}.role is {shown(str(role))}", f"roles are {', '.join(ROLES)}")
        if item.get("tool_calls"):
            raise self._fault("messages", f"{path} has tool_calls, which cannot be trained on", "leave such rows out")
        return Message(role, self._text("messages", f"{path}.content", content))

    def _check_order(self, column: str, messages: tuple[Message, ...]) -> None:
        roles = [message.role for message in messages]
        turns = roles[1:] if roles[0] == "system" else roles
        if "system" in turns:
            raise self._fault("messages", f"{column} has a system message after its first message", "put it first, or leave it out")
        if not turns or turns[0] != "user":
            raise self._fault(
                "messages", f"{column} does not begin with the user", "begin with a user message, after a system message if any"
            )
        if turns[-1] != "assistant":
            fix = "end every conversation with the answer that the model should learn"
            raise self._fault("messages", f"the last message of {column} is not the assistant's but the {turns[-1]}'s", fix)

    def _words(self, role: str) -> str | None:
        """Return the text of a column, None where there is nothing but white space."""
        column = self.layout.needed()[role]
        value = self._value(role)
        text = "" if value is None else self._text(role, repr(column), value)
        if text.strip():
            return text
        self.empty_column = column
        return None

    def _value(self, role: str) -> Any:
        column = self.layout.needed()[role]
        values = self.record.values
        if column in values:
            return values[column]
        has = [str(name) for name in values]
        problem = f"{column!r} is not a column of {self.name} {self.record.place} (it has: {', '.join(has)})"
        raise InputError(f"{self.field}.columns.{role}", problem, _column_fix(role, column, has))

    def _text(self, role: str, what: str, value: Any) -> str:
        if not isinstance(value, str):
            fix = "parts of content are not supported; join them to one text" if role == "messages" else "write it in double quotes"
            raise self._fault(role, f"{what} is {kind_of(value)}, not a text: {shown(str(value))}", fix)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f"{what} holds half of a surrogate pair at character {error.start + 1}, which is no text"
            raise self._fault(role, problem, "write the whole character") from error
        return value

    def _fault(self, role: str, problem: str, fix: str) -> InputError:
        return InputError(f"{self.field}.columns.{role}", f"{self.name} {self.record.place}: {problem}", fix)


def _refuse_columns(field: str, columns: Columns, names: Sequence[str], reason: str) -> None:
    for name in names:
        if getattr(columns, name) is not None:
            raise InputError(f"{field}.columns.{name}", f"has no meaning here: {reason}", "remove it, or change the task")


def _column_fix(role: str, column: str, has: list[str]) -> str:
    if len(has) == 1 and any(separator in has[0] for separator in ";\t|"):
        return "the file seems to separate its cells by something other than a comma; save it with commas"
    close = difflib.get_close_matches(column, has, n=1) or [name for name in has if name.lower() == column.lower()]
    return f"did you mean columns.{role}: {close[0]}?" if close else f"name the right one as columns.{role}"


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in sorted(names))
