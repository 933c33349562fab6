"""Turns one YAML document into plain objects, as kubectl does: merge keys, anchors, and every key a text.

The events come from PyYAML (from libyaml where it is there, whose scanner kubectl's is a port of); what they mean is decided
here and in scalars.py. Two things are kubectl's and not YAML's: `<<` overrides what is above it in the same mapping, and
only what is below it overrides `<<`. One thing is ours: a duplicate key is an error, where kubectl silently drops the
first. Tests: tests/finetune/cli/jobfile/test_yamlreader.py and, against kubectl, test_kubectl.py.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from finetune.cli.jobfile.scalars import TAG, ScalarError, key_text, plain, tagged
from finetune.cli.jobfile.yamlwords import YamlError, explained

MERGE = "<<"
ESCAPED_SLASH = re.compile(r"(?<!\\)(\\\\)*\\/")
ALIASES_LOOKED_AT, VALUES_LOOKED_AT = 100, 1000
LARGEST_ALIAS_SHARE = 0.99
LARGEST_EXPANSION = 400_000
"""kubectl's bounds on what aliases may multiply a document to, so that a few lines cannot fill the memory."""


@dataclass(frozen=True)
class Parsed:
    """A document's value, and what of the document has no effect, in words."""

    value: Any
    without_effect: tuple[str, ...] = ()


def parse(text: str, first_line: int = 0) -> Parsed:
    """Return what the document `text` says; YamlError otherwise. `first_line` counts the lines of the file above it."""
    try:
        return _Composer(text, first_line).document()
    except yaml.YAMLError as error:
        raise explained(error, text).moved(first_line) from None
    except YamlError as error:
        raise error.moved(first_line) from None
    except RecursionError:
        raise YamlError(first_line + 1, None, "is nested too deeply", "fix the file") from None


@dataclass
class _Anchored:
    """What an anchor names: nothing until its value is complete; `weight` counts the values in it."""

    value: Any = None
    weight: int = 0
    complete: bool = False


class _Composer:
    def __init__(self, text: str, first_line: int) -> None:
        self._events: Any = (yaml.CLoader if yaml.__with_libyaml__ else yaml.Loader)(text)
        self._text, self._first_line = text, first_line
        self._without_effect: list[str] = []
        self._anchors: dict[str, _Anchored] = {}
        self._values, self._aliased = 0, 0

    def document(self) -> Parsed:
        self._events.get_event()
        if self._events.check_event(yaml.StreamEndEvent):
            return Parsed(None)
        self._events.get_event()
        value = self._node()
        end = self._events.get_event()
        if not end.explicit:
            self._events.get_event()  # an error if anything is here
            return Parsed(value, tuple(self._without_effect))
        try:
            unread = None if self._events.check_event(yaml.StreamEndEvent) else self._events.peek_event().start_mark
        except yaml.MarkedYAMLError as error:
            unread = error.problem_mark
        if unread is not None:
            self._without_effect.append(f"the text from line {self._line(unread)} on, after '...'")
        return Parsed(value, tuple(self._without_effect))

    def _line(self, mark: Any) -> int:
        return int(self._first_line + mark.line + 1)

    def _node(self) -> Any:
        event = self._events.get_event()
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchored = _Anchored()
        if event.anchor:
            self._anchors[event.anchor] = anchored
        before = self._values
        self._count(1, 0, event)
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event, self._text)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence()
        else:
            value = self._mapping()
        anchored.value, anchored.weight, anchored.complete = value, self._values - before, True
        return value

    def _alias(self, event: Any) -> Any:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            raise _error(event, f"*{event.anchor} names no anchor above it", f"write &{event.anchor} where the value first appears")
        if not anchored.complete:
            raise _error(event, f"*{event.anchor} refers to itself", "write the value out")
        self._count(anchored.weight, anchored.weight, event)
        return anchored.value

    def _sequence(self) -> list[Any]:
        items = []
        while not self._events.check_event(yaml.SequenceEndEvent):
            items.append(self._node())
        self._events.get_event()
        return items

    def _mapping(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not self._events.check_event(yaml.MappingEndEvent):
            event = self._events.peek_event()
            if _is_merge(event):
                self._node()
                merged = self._merged()
                for key in lines.keys() & merged.keys():
                    if members[key] != merged[key]:
                        self._without_effect.append(
                            f"{key} of line {lines[key]}, which << of line {self._line(event.start_mark)} overrides"
                        )
                members.update(merged)
                continue
            key = self._key(event)
            if key in lines:
                raise _error(event, f"the key {key!r} is given twice, first in line {lines[key]}", "keep one of them")
            lines[key] = self._line(event.start_mark)
            members[key] = self._node()
        self._events.get_event()
        return members

    def _key(self, event: Any) -> str:
        key = self._node()
        if isinstance(key, (dict, list)):
            raise _error(event, "a key is a list or an object", "a key is a string; put quotes around one that begins with [ or {")
        try:
            return key_text(key)
        except ScalarError as error:
            raise _error(event, str(error), "write a name before the colon") from None

    def _merged(self) -> dict[str, Any]:
        """Return what the value of `<<` adds: of a list the earlier entries override the later ones."""
        event = self._events.peek_event()
        given = self._node()
        entries = given if isinstance(event, yaml.SequenceStartEvent) else [given]
        if not all(isinstance(entry, dict) for entry in entries):
            raise _error(event, "the value of << is not a mapping", "give it an alias of a mapping, such as *defaults, or a list of such")
        merged: dict[str, Any] = {}
        for entry in reversed(entries):
            merged.update(entry)
        return merged

    def _count(self, values: int, aliased: int, event: Any) -> None:
        self._values += values
        self._aliased += aliased
        if self._aliased <= ALIASES_LOOKED_AT or self._values <= VALUES_LOOKED_AT:
            return
        if self._values > LARGEST_EXPANSION or self._aliased > LARGEST_ALIAS_SHARE * self._values:
            raise _error(event, "aliases expand this document beyond the limit", "write values out")


def _scalar(event: Any, text: str) -> Any:
    if event.style == '"' and ESCAPED_SLASH.search(text[event.start_mark.index : event.end_mark.index]):
        raise _error(event, "kubectl does not read \\/ in double quotes", "write / alone")
    try:
        if event.tag is None:
            event.value.encode()
            return plain(event.value) if event.implicit[0] else event.value
        return tagged(event.tag, event.value)
    except ScalarError as error:
        raise _error(event, str(error), "fix it, or put quotes around a string") from None
    except UnicodeEncodeError:
        raise _error(event, "half of a character is escaped", "write the character itself") from None


def _is_merge(event: Any) -> bool:
    if not isinstance(event, yaml.ScalarEvent) or event.value != MERGE:
        return False
    return event.tag == f"{TAG}merge" or (event.tag is None and event.implicit[0])


def _error(event: Any, problem: str, fix: str) -> YamlError:
    return YamlError(event.start_mark.line + 1, event.start_mark.column + 1, problem, fix)
