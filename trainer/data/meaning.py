"""Refuses rows with a column that would change what is learned from them but that this trainer does not support.

Tests: tests/trainer/preflight/test_columns.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

from finetune.api.errors import InputError

ROW_KEYS = ("documents", "chat_template_kwargs")
"""Columns beside messages that other tools pass to the chat template."""
REASONING_NAMES = ("reasoning", "reasoning_content", "thinking", "thought", "thoughts")

Fault = Callable[[str, str, str], InputError]
"""Returns the error for a column, its problem and the fix, with the location of the row."""


def refuse_meaning(
    values: Mapping[str, Any], is_free: Callable[[str], bool], fault: Fault, *, answers: bool = False, messages: bool = False
) -> None:
    """Raise InputError for such a column; `answers` and `messages` say what the row consists of.

    `is_free` returns whether a column is neither named in the job nor ignored.
    """
    for name in (*REASONING_NAMES, *ROW_KEYS, "weight", "label"):
        value = values.get(name)
        if value is None or (isinstance(value, str) and not value.strip()) or not is_free(name):
            continue
        if name == "weight" and not _is_one(value):
            raise fault(name, f"gives the row the weight {value}, but all rows have the same weight", "leave out rows that are not wanted")
        # Beside plain text a label says what the text is about, not whether it is a good answer.
        if name == "label" and value is False and answers:
            raise fault(name, "is false, which marks a bad answer, but all answers are learned", "leave such rows out")
        if name in ROW_KEYS and messages and value not in ([], {}):
            fix = "leave it out, or write what it says into a message"
            raise fault(name, "would change what the chat template writes, but is not passed to it", fix)
        if name in REASONING_NAMES and answers and isinstance(value, str):
            fix = "write the thoughts into the answer, as the model does between <think> and </think>"
            raise fault(name, "contains thoughts, which would not be learned", fix)


def _is_one(weight: Any) -> bool:
    """Return whether a weight, a number or its text, is 1."""
    try:
        return float(weight) == 1
    except (TypeError, ValueError):
        return False
