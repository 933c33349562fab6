"""Decides what a file with a single JSON object is: one row, a wrapped list of rows, or a column-oriented table.

Tests: tests/trainer/data/test_jsonobject.py.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from finetune.api.errors import InputError
from trainer.data.records import Record

TURN_KEYS = ({"role", "content"}, {"from", "value"})
WRAPPER_NAMES = re.compile(
    r"^((data_?set|data|file|schema|format)_)?(version|revision|licen[sc]e|copyright|url|uri|homepage|link|name|dataset|description|citation"
    r"|split|subset|config|lang|language|locale|authors?|creators?|source|format|schema|type|task|id|uuid|hash|checksum|date|time|timestamp|created(_?at)?"
    r"|updated(_?at)?|generator|encoding|status)$|_id$|^\$schema$|^@",
    re.IGNORECASE,
)
"""Names of members that describe a file and are not part of a row."""


def is_turn(value: Any) -> bool:
    """Return whether a value looks like one message of a conversation."""
    return isinstance(value, dict) and any(keys <= set(value) for keys in TURN_KEYS)


def is_turns_by_member(value: Any) -> bool:
    """Return whether a value is a conversation stored as an object of lists, such as all roles and all contents."""
    return is_turn(value) and all(isinstance(member, list) for member in value.values()) and len({*map(len, value.values())}) == 1


def single_object(field: str, path: Path, number: int, value: dict[str, Any], columns: Collection[str]) -> Iterator[Record]:
    """Yield the rows of a file that holds one object, in line `number`: the items of its only list of objects, or the object itself.

    `columns` are those that the job needs. An object with one of them, with text that does not merely describe a file, or with a
    conversation is a row, whatever other lists it has, such as functions or comments. Raises InputError for several lists of rows
    and for a column-oriented table.
    """
    lists = [name for name, member in value.items() if _is_list_of_rows(member)]
    if lists and _is_row(value, columns):
        lists = []
    if len(lists) == 1:
        yield from (Record(f"{lists[0]}[{index}]", item, unwrapped=lists[0]) for index, item in enumerate(value[lists[0]]))
        return
    if lists:
        fix = "write the intended one to its own file"
        raise InputError(field, f"{path} holds several lists of rows ({', '.join(lists)})", fix)
    if _is_by_column(value):
        problem = f"{path} holds a table column by column ({', '.join(value)})"
        raise InputError(field, problem, 'write it row by row; with pandas: to_json(path, orient="records", lines=True)')
    yield Record(f"line {number}", value)


def _is_row(value: dict[str, Any], columns: Collection[str]) -> bool:
    if any(name in columns for name in value):
        return True
    if any(isinstance(member, list) and any(map(is_turn, member)) for member in value.values()):
        return True
    return any(isinstance(member, str) and member.strip() and not WRAPPER_NAMES.search(name) for name, member in value.items())


def _is_list_of_rows(member: Any) -> bool:
    return isinstance(member, list) and bool(member) and all(isinstance(item, dict) for item in member) and not is_turn(member[0])


def _is_by_column(value: dict[str, Any]) -> bool:
    members = list(value.values())
    return len(members) > 1 and (
        all(isinstance(member, list) and not any(map(is_turn, member)) for member in members)
        or all(isinstance(member, dict) and member and all(str(name).isdigit() for name in member) for member in members)
    )
