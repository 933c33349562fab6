"""Reads JSON as rows: an object per line, one array of objects, objects spread over lines, or an object around one list.

The first line decides which of these a file is. Keys that occur twice in an object and NaN are refused, because
readers disagree about them. Arrays are read item by item, also from one long line; an object around a list is in memory as a
whole. Tests: tests/trainer/data/test_jsonrows.py.
"""

import json
import re
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from finetune.api.errors import InputError
from trainer.data.jsonobject import is_turn, single_object
from trainer.data.records import Record, kind_of, shown
from trainer.data.streams import whole_lines

Lines = Iterator[tuple[int, str]]
Parts = Iterator[tuple[int, str]]
"""Lines with their ends, or parts of lines: see `numbered_parts`."""
EXAMPLE = '{"prompt": "…", "completion": "…"}'
LONE_RETURN = re.compile(r"\r(?!\n)")
READ_CHARACTERS = 1 << 16
NEAR_THE_END = 12
"""An error this close to the end of what was read may come from the cut alone: an escape has up to 12 characters."""


class _RefusedError(ValueError):
    """A value that Python's parser would accept, with the fix."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedError(f"has the key {twice!r} twice in one object", "keep one of them")
    return members


def _constant(name: str) -> Any:
    raise _RefusedError(f"holds {name}, which JSON does not have", "write null, or leave the row out")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def parse(text: str) -> Any:
    """Return the value of a JSON text; raises ValueError for invalid JSON, repeated keys and NaN."""
    return DECODER.decode(text)


def read_json(field: str, path: Path, parts: Parts, columns: Collection[str] = ()) -> Iterator[Record]:
    """Yield the rows of a file; `columns` are those that the job needs. Raises InputError for bad JSON."""
    first = next(((number, part) for number, part in parts if part.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        yield from _array(_Document(field, path, chain([first], parts)))
        return
    lines = whole_lines(chain([first], parts))
    number, line = next(lines)
    text = line.strip()
    if text.startswith("{") and text[-1] in "{[,":
        yield from _objects(_Document(field, path, chain([(number, f"{line}\n")], parts)), columns)
    else:
        yield from _read_lines(field, path, chain([(number, line)], lines), columns)


def _read_lines(field: str, path: Path, lines: Lines, columns: Collection[str]) -> Iterator[Record]:
    following = ((number, line) for number, line in lines if line.strip())
    current, seen = next(following, None), 0
    while current is not None:
        (number, line), current = current, next(following, None)
        seen += 1
        where = f"{path} line {number}"
        try:
            value = parse(line)
        except (ValueError, RecursionError) as error:
            raise _line_fault(field, where, line, error, last=current is None) from error
        if not isinstance(value, dict):
            raise InputError(field, f"{where} is not a JSON object but {kind_of(value)}: {shown(line)}", _object_fix(value))
        if seen == 1 and current is None:
            yield from single_object(field, path, number, value, columns)
        else:
            yield Record(f"line {number}", value)


def _array(document: "_Document") -> Iterator[Record]:
    document.position += 1
    number = 0
    following = document.skip_space()
    while following != "]":
        number, line = number + 1, document.line
        place = f"item {number} (line {line})"
        value = document.value(place)
        if not isinstance(value, dict):
            raise document.fault(f"{place} is not a JSON object but {kind_of(value)}: {shown(str(value))}", _object_fix(value))
        if is_turn(value):
            problem = f"{place} is a message, not a row: {shown(str(value))}"
            raise document.fault(problem, 'write each conversation as an object: {"messages": [{"role": "user", …}, …]}')
        yield Record(place, value)
        following = document.skip_space()
        if following == ",":
            document.position += 1
            if document.skip_space() == "]":
                raise document.fault(f"line {document.line} has a comma before the closing bracket", "remove the comma")
        elif following == "":
            raise document.fault(f"breaks off after {place}: the array is not closed", "write the file again, or end it with ]")
        elif following != "]":
            raise document.fault(f"line {document.line} has no comma after {place}", "write a comma between two items")
    document.position += 1
    if document.skip_space():
        problem = f"line {document.line} goes on after the end of the array"
        raise document.fault(problem, "write one array, or one object per line")


def _objects(document: "_Document", columns: Collection[str]) -> Iterator[Record]:
    first_line = document.line
    first = document.value(f"line {first_line}")
    following = document.skip_space()
    if not isinstance(first, dict) or not following:
        yield from single_object(document.field, document.path, first_line, first, columns)
        return
    yield Record(f"line {first_line}", first)
    while following:
        place = f"line {document.line}"
        if following == ",":
            raise document.fault(f"{place} has a comma between two objects", "remove the commas, or put brackets around all: [ … ]")
        value = document.value(place)
        if not isinstance(value, dict):
            raise document.fault(f"{place} is not a JSON object but {kind_of(value)}: {shown(str(value))}", _object_fix(value))
        yield Record(place, value)
        following = document.skip_space()


class _Document:
    """A text that is read as needed, and dropped up to `position`."""

    def __init__(self, field: str, path: Path, parts: Parts) -> None:
        self.field, self.path = field, path
        self._parts = parts
        self.text, self.position = "", 0
        self._counted, self._line = 0, 1
        self._dropped = 0
        """Characters of the line that `text` begins in which are not in it any more."""
        self.more()
        self.skip_space()

    @property
    def line(self) -> int:
        """Line number of `position`, from 1."""
        return self._line_at(self.position)

    def more(self) -> bool:
        """Read at least as much again as is unread, so that a long value is parsed only a few times; False at the end of the file."""
        wanted, size = max(READ_CHARACTERS, len(self.text) - self.position), 0
        added: list[str] = []
        for number, part in self._parts:
            if not self.text and not added:
                self._line = number
            added.append(part)
            size += len(part)
            if size >= wanted:
                break
        if added:
            self._line_at(self.position)
            self._dropped = self._column(self.position)
            self.text = self.text[self.position :] + "".join(added)
            self.position = self._counted = 0
        return bool(added)

    def skip_space(self) -> str:
        """Advance to the next character that is not white space and return it; "" at the end."""
        while True:
            while self.position < len(self.text):
                if self.text[self.position] not in " \t\r\n":
                    return self.text[self.position]
                self.position += 1
            if not self.more():
                return ""

    def value(self, place: str) -> Any:
        """Return the value that begins at `position`, and advance past it. Raises InputError naming `place`."""
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - NEAR_THE_END
                if unfinished and self.more():
                    continue
                raise self._syntax_fault(error, place, unfinished=unfinished) from error
            except _RefusedError as error:
                raise self.fault(f"{place} {error}", error.fix) from error
            except (ValueError, RecursionError) as error:
                raise self.fault(f"{place} is not JSON ({_reason(error)})", f"write it as {EXAMPLE}") from error
            self.position = end
            return value

    def fault(self, problem: str, fix: str) -> InputError:
        """Return the error for this file; `problem` continues a sentence that begins with its path."""
        return InputError(self.field, f"{self.path} {problem}", fix)

    def _syntax_fault(self, error: json.JSONDecodeError, place: str, *, unfinished: bool) -> InputError:
        end = len(self.text.rstrip())
        position = min(error.pos, max(0, end - 1))
        words = self.text[self.text.rfind("\n", 0, position) + 1 :].split("\n", 1)[0]
        line, ended = self._line_at(position), error.msg.startswith("Unterminated string") or error.pos >= end
        problem = f"line {line} is not JSON ({_reason(error)} at character {self._column(position) + 1}), in {place}: {shown(words)}"
        return self.fault(problem, _syntax_fix(error, ended=unfinished and ended))

    def _line_at(self, position: int) -> int:
        """Return the line of a position; counts on from the position before, because a file may be one long line."""
        passed = self._line_ends(min(self._counted, position), max(self._counted, position))
        self._line += passed if position >= self._counted else -passed
        self._counted = position
        return self._line

    def _column(self, position: int) -> int:
        """Return how many characters of its line precede a position."""
        line_end = self.text.rfind("\n", 0, position)
        return position - line_end - 1 if line_end >= 0 else self._dropped + position

    def _line_ends(self, start: int, stop: int) -> int:
        return self.text.count("\n", start, stop)


def _line_fault(field: str, where: str, line: str, error: Exception, *, last: bool) -> InputError:
    if isinstance(error, _RefusedError):
        return InputError(field, f"{where} {error}", error.fix)
    fix = f"write one object per line, such as {EXAMPLE}"
    if isinstance(error, json.JSONDecodeError):
        ended = error.msg.startswith("Unterminated string") or error.pos >= len(line.rstrip())
        fix = _syntax_fix(error, ended=ended and last)
        return InputError(field, f"{where} is not JSON ({_reason(error)} at character {error.colno}): {shown(line)}", fix)
    return InputError(field, f"{where} is not JSON ({_reason(error)}): {shown(line)}", fix)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return error.msg.removesuffix(" at") if isinstance(error, json.JSONDecodeError) else str(error).split(";")[0]


def _object_fix(value: Any) -> str:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return "the object is written as a string: remove the quotes around it and the backslashes in it"
    if isinstance(value, list) and any(map(is_turn, value)):
        return 'write the conversation as an object: {"messages": [{"role": "user", …}, …]}'
    return f"write this row as an object, such as {EXAMPLE}"


def _syntax_fix(error: json.JSONDecodeError, *, ended: bool) -> str:
    """Return a fix for a syntax error, as specific as the error allows."""
    text, position = error.doc, error.pos
    found, before = text[position : position + 1], text[:position].rstrip()
    if LONE_RETURN.search(text.strip()):
        return "lines end in a carriage return alone; save the file with line feeds"
    if ended:
        return "it breaks off: the file was not written completely; write it again, or leave this row out"
    if error.msg.startswith("Invalid control character"):
        return "write a line break in a text as \\n and a tab as \\t"
    if error.msg == "Extra data":
        return "remove the comma after the object" if found == "," else "put each object on a line of its own"
    if found == "'":
        return "JSON needs double quotes around names and texts"
    if before.endswith(",") and found in ("}", "]"):
        return f"remove the comma before {found}"
    if text.startswith(("None", "True", "False"), position):
        return "in JSON write null, true and false"
    if error.msg == "Expecting value" and position == 0:
        return f"write one object per line, such as {EXAMPLE}; if the file is not JSON, give its format"
    return f'write one object per line, such as {EXAMPLE}; a double quote inside a text is written \\"'
