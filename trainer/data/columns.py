"""Turns records into examples: reads prompt, completion, messages or text from their columns, and checks what is in them.

Rows without words are left out and counted; a value of the wrong kind is an error of the user. Tests:
tests/trainer/data/test_columns.py.
"""

import difflib
import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, groupby, islice
from typing import Any

from finetune.api.errors import InputError
from finetune.api.sources import Columns
from finetune.api.tasks import TaskName
from trainer.chat.messages import SPEAKERS, check_order, has_empty_turn, is_tools, message_of, tools_of
from trainer.data.advice import text_advice
from trainer.data.jsonobject import is_turns_by_member
from trainer.data.jsonrows import parse
from trainer.data.layout import SAMPLE_RECORDS, FirstRows, Layout, check_layout, layout_of, quoted
from trainer.data.meaning import refuse_meaning
from trainer.data.noticed import Noticed
from trainer.data.records import Record, kind_of, shown
from trainer.data.rows import Example, Message

SYSTEM_NAMES = ("system", "system_prompt")
HISTORY_NAME = "history"
TOOLS_NAME = "tools"
HISTORY_FIX = 'write [["earlier question", "earlier answer"]], or columns: {ignore: [history]}'


def read_examples(
    field: str, records: Iterable[Record], task: TaskName, columns: Columns | None, name: str, noticed: Noticed
) -> Iterator[Example]:
    """Yield the examples of one source; `noticed` takes what is worth saying of it. `name` is the file or data set, for messages.

    Each file of a source has a layout of its own, which its first rows show.
    """
    some = False
    for _, of_file in groupby(records, key=lambda record: record.file):
        head = list(islice(of_file, SAMPLE_RECORDS))
        first = FirstRows(head)
        layout = layout_of(field, task, columns, first)
        check_layout(field, task, layout, first, name)
        noticed.take_layout(layout)
        ignored = frozenset((columns.ignore if columns else None) or ())
        for record in chain(head, of_file):
            row = _Row(field, name, record, layout, first, ignored, noticed)
            example = row.text_example() if layout.text else row.messages_example() if layout.messages else row.pair_example()
            if example is None and row.unlearnt:
                noticed.skip_unlearnt(record.where)
            elif example is None:
                noticed.skip(record.where, row.empty_column)
            else:
                noticed.take_row(record, row.read | ignored)
                some = True
                yield example
    if not some:
        problem = f"every row of {name} has an empty {_either(noticed.columns)}" if noticed.count else f"{name} has no rows"
        if noticed.unlearnt:
            problem = f"no row of {name} has an answer to learn: they have weight 0, or no words"
        raise InputError(field, problem, "give at least one row with words in it")


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

    def __init__(
        self, field: str, name: str, record: Record, layout: Layout, first: FirstRows, ignored: frozenset[str], noticed: Noticed
    ) -> None:
        self.field, self.name, self.record, self.layout, self.first, self.ignored = field, name, record, layout, first, ignored
        self.noticed = noticed
        self.origin = f"{field} {record.where}"
        self.empty_column = ""
        self.unlearnt = False
        """It has no answer of a weight above 0."""
        self.read = set(layout.needed().values())
        """Columns of this row that are read."""

    def text_example(self) -> Example | None:
        self._refuse_meaning()
        text = self._words("text")
        return None if text is None else Example(make_id(None, text), self.origin, None, text)

    def pair_example(self) -> Example | None:
        self._refuse_meaning()
        prompt, completion = self._words("prompt"), self._words("completion")
        if prompt is None or completion is None:
            return None
        addition = self.layout.addition
        if addition is not None and (words := self._optional(addition)):
            prompt = f"{prompt}\n\n{words}"
            self.noticed.used[addition, f"is written after {self.layout.prompt!r}, with a blank line between,"] += 1
        return self._example((*self._system(), *self._history(), Message("user", prompt), Message("assistant", completion)))

    def messages_example(self) -> Example | None:
        self._refuse_meaning()
        column = self.layout.messages or ""
        value = self._turns(column, self._value("messages"))
        if value is None or value == []:
            self.empty_column = column
            return None
        if not isinstance(value, list):
            fix = 'it must be a list such as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
            raise self._fault("messages", f"{column!r} is {kind_of(value)}, not a list: {shown(str(value))}", fix)
        said = [self._said(f"{column}[{index}]", item) for index, item in enumerate(value)]
        read = [message_of(f"{column}[{index}]", item, self._messages_fault) for index, item in enumerate(said)]
        messages = tuple(message for message, *_ in read)
        messages = (*self._system(messages[0]), *messages)
        check_order(column, messages, self._messages_fault)
        if has_empty_turn(messages):
            self.empty_column = f"{column}[].content"
            return None
        if not any(message.learnt for message in messages if message.role == "assistant"):
            self.unlearnt = True
            return None
        self.noticed.keys.update({key for _, unread, _ in read for key in unread})
        self.noticed.marked.update({key for *_, marked in read for key in marked})
        return self._example(messages)

    def _example(self, messages: tuple[Message, ...]) -> Example:
        """Return a conversation with the tools that the row offers."""
        value, tools = self.record.values.get(TOOLS_NAME), None
        if self.layout.messages is None:
            value = _parsed(value)
        if self._is_free(TOOLS_NAME) and (self.layout.messages is not None or is_tools(value)):
            self.read.add(TOOLS_NAME)
            tools = tools_of(TOOLS_NAME, value, self._tools_fault)
        return Example(make_id(messages, None, tools), self.origin, messages, tools=tools)

    def _messages_fault(self, problem: str, fix: str) -> InputError:
        return self._fault("messages", problem, fix)

    def _tools_fault(self, problem: str, fix: str) -> InputError:
        return self._messages_fault(problem, f"{fix}, or columns: {{ignore: [{TOOLS_NAME}]}} if the model should not see them")

    def _turns(self, column: str, value: Any) -> Any:
        """Return a list of messages that is held as JSON, or as lists of their members; anything else as it is."""
        if is_turns_by_member(value):
            return [dict(zip(value, members, strict=True)) for members in zip(*value.values(), strict=True)]
        return self._list(column, value, "write the list as JSON, or as a list in a file of JSON lines or Parquet")

    def _list(self, column: str, value: Any, fix: str) -> Any:
        """Return a list that is held as JSON, as in a table; anything else as it is."""
        if not isinstance(value, str) or not value.lstrip().startswith("["):
            return value
        try:
            return parse(value)
        except (ValueError, RecursionError) as error:
            role = "messages" if self.layout.messages is not None else "prompt"
            raise self._fault(role, f"{column!r} is not valid JSON ({error}): {shown(value)}", fix) from error

    def _said(self, path: str, item: Any) -> Any:
        """Return a message of {from, value} as one of {role, content}; anything else as it is."""
        if not isinstance(item, dict) or "from" not in item or "value" not in item or "role" in item:
            return item
        speaker = item["from"]
        role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
        if role is None:
            fix = f"speakers are {', '.join(SPEAKERS)}; write turns of others as those of one of them, or leave the row out"
            raise self._fault("messages", f"{path}.from is {shown(str(speaker))}", fix)
        return {"role": role, "content": item["value"], **{key: member for key, member in item.items() if key not in ("from", "value")}}

    def _system(self, first: Message | None = None) -> tuple[Message, ...]:
        """Return the system message that a column of the row holds; `first` is that of a list of messages."""
        if self.layout.system is not None:
            words = self._words("system")
        else:
            column = next((name for name in SYSTEM_NAMES if name in self.record.values and self._is_free(name)), None)
            words = self._optional(column) if column is not None else None
            if words and column is not None:
                self.noticed.used[column, "is the system message"] += 1
        if not words or (first is not None and first.role == "system" and first.content.strip() == words.strip()):
            return ()
        if first is not None and first.role == "system":
            named = self.layout.system
            fix = "keep one of them, or " + ("remove columns.system" if named else f"write columns: {{ignore: [{column}]}}")
            raise self._fault("system", f"{named or column!r} is a system message, and the messages begin with another one", fix)
        return (Message("system", words),)

    def _history(self) -> tuple[Message, ...]:
        """Return earlier turns that stand as pairs of texts beside prompt and completion."""
        if not self._is_free(HISTORY_NAME):
            return ()
        value = self._list(HISTORY_NAME, self.record.values.get(HISTORY_NAME), HISTORY_FIX)
        if not isinstance(value, list):
            return ()
        self.read.add(HISTORY_NAME)
        turns: list[Message] = []
        for index, pair in enumerate(value):
            path = f"{HISTORY_NAME}[{index}]"
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(words, str) and words.strip() for words in pair):
                raise self._fault("prompt", f"{path} is not a pair of texts: {shown(str(pair))}", HISTORY_FIX)
            texts = [self._text("prompt", path, words) for words in pair]
            turns += [Message("user", texts[0]), Message("assistant", texts[1])]
        if turns:
            self.noticed.used[HISTORY_NAME, "gives the turns before the prompt"] += 1
        return tuple(turns)

    def _refuse_meaning(self) -> None:
        refuse_meaning(self.record.values, self.layout, self._is_free, self._meaning_fault)
        # A weight that passes is 1, which is what every row has.
        self.read.add("weight")

    def _meaning_fault(self, column: str, problem: str, fix: str) -> InputError:
        problem = f"{self.name} {self.record.where}: {column!r} {problem}"
        return InputError(self.field, problem, f"{fix}; if the column says something else, write columns: {{ignore: [{column}]}}")

    def _is_free(self, column: str) -> bool:
        """Tell whether a column is neither named in the job for something else nor to be ignored."""
        return column not in self.ignored and column not in self.layout.needed().values() and column != self.layout.addition

    def _words(self, role: str) -> str | None:
        """Return the text of a column, None where there is nothing but white space."""
        column = self.layout.needed()[role]
        value = self._value(role)
        text = "" if value is None else self._text(role, repr(column), value)
        if text.strip():
            return text
        self.empty_column = column
        return None

    def _optional(self, column: str) -> str | None:
        """Return the text of a column that a row may have, None where there is nothing but white space."""
        self.read.add(column)
        value = self.record.values.get(column)
        if value is not None and not isinstance(value, str):
            problem = f"{self.name} {self.record.where}: {column!r} is {kind_of(value)}, not a text: {shown(str(value))}"
            fix = text_advice(value, column, typed=self.record.typed, alone=True)
            raise InputError(self.field, problem, f"{fix}, or write columns: {{ignore: [{quoted(column)}]}}")
        text = "" if value is None else self._text("prompt", repr(column), value)
        return text if text.strip() else None

    def _value(self, role: str) -> Any:
        column = self.layout.needed()[role]
        values = self.record.values
        if column in values:
            return values[column]
        has = [str(name) for name in values]
        problem = f"{self.name} {self.record.where} has no {column!r} (it has: {', '.join(has) or 'nothing'})"
        close = difflib.get_close_matches(column, has, n=1, cutoff=0.75)
        fix = f"write {close[0]!r} as {column!r} in this row" if close else "write it as in the other rows, or leave the row out"
        raise InputError(self.field, problem, fix)

    def _text(self, role: str, what: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._fault(role, f"{what} is {kind_of(value)}, not a text: {shown(str(value))}", self._text_fix(role, value))
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f"{what} holds half of a surrogate pair at character {error.start + 1}, which is not valid text"
            raise self._fault(role, problem, "write the whole character") from error
        return value

    def _text_fix(self, role: str, value: Any) -> str:
        column = self.layout.needed().get(role, role)
        alone = self.first.holds_text(column, besides=self.record)
        return text_advice(value, column, typed=self.record.typed, alone=alone)

    def _fault(self, role: str, problem: str, fix: str) -> InputError:
        return InputError(f"{self.field}.columns.{role}", f"{self.name} {self.record.where}: {problem}", fix)


def _parsed(value: Any) -> Any:
    """Return the value of a JSON text, as tables hold lists; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            return parse(value)
    return value


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in sorted(names))
