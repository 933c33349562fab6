"""Suggests fixes for values that should be text but are not; a row corrected as suggested is accepted.

Tests: tests/trainer/preflight/test_columns.py.
"""

import datetime
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from trainer.data.jsonobject import is_turn
from trainer.data.layout import quoted


def text_advice(value: Any, column: str, *, typed: bool, alone: bool) -> str:
    """Return how to correct a value of a column that should hold text.

    `typed`: the file's columns have types. `alone`: other rows have text there, so only this row needs correction.
    """
    if isinstance(value, list) and any(map(is_turn, value)):
        if value[-1].get("role", value[-1].get("from")) in ("assistant", "gpt"):
            return f"it is a conversation: write columns: {{messages: {quoted(column)}}} instead of prompt and completion"
        return "it is a part of a conversation: join question and answer to one list, in a column messages"
    here = "" if alone else f", or name a column that holds text instead of {column!r}"
    if isinstance(value, str | bytes | bytearray):
        return f"write it as UTF-8 text when the file is made{here}"
    if isinstance(value, bool | int | float | Decimal):
        if typed:
            return f"turn the column into text when the file is made{here}"
        return f"write it as a text, {json.dumps(json.dumps(value))}{here}"
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta):
        return f"write it as a text, such as {json.dumps(str(value))}, when the file is made{here}"
    if isinstance(value, Mapping):
        return f"write one text in its place; it has the members {', '.join(map(str, value)) or '(none)'}{here}"
    if isinstance(value, list):
        return f"write one text in its place, or a row for each item{here}"
    return f"write it as a text{here}"
