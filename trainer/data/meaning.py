"""Refuses rows with a column that would change what is learnt from them, and that this trainer does not honour.

Tests: tests/trainer/data/test_columns.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

from finetune.api.errors import InputError

ROW_KEYS = ("functions", "documents", "chat_template_kwargs")
"""Columns beside messages that other tools give to the chat template."""
REASONING_NAMES = ("reasoning", "reasoning_content", "thinking", "thought", "thoughts")

Fault = Callable[[str, str, str], InputError]
"""Returns the error for a column, its problem and the fix, with the row's place."""


def refuse_meaning(
    values: Mapping[str, Any], is_free: Callable[[str], bool], fault: Fault, *, answers: bool = False, messages: bool = False
) -> None:
    """Raise InputError for such a column of a row that has `answers`, or `messages`.

    `is_free` says whether a column is neither named in the job nor ignored.
    """
    for name in (*REASONING_NAMES, *ROW_KEYS, "weight", "label"):
        value = values.get(name)
        if value is None or (isinstance(value, str) and not value.strip()) or not is_free(name):
            continue
        if name == "weight" and not _is_one(value):
            raise fault(name, f"gives the row the weight {value}, and all rows have the same weight", "leave out rows that are not wanted")
        # Beside plain text a label says what the text is about, not whether it is a good answer.
        if name == "label" and value is False and answers:
            raise fault(name, "is false, which marks a bad answer, and all answers are learnt", "leave such rows out")
        if name in ROW_KEYS and messages and value not in ([], {}):
            fix = "leave it out, or write what it says into a message"
            raise fault(name, "would change what the chat template writes, and is not given to it", fix)
        if name in REASONING_NAMES and answers and isinstance(value, str):
            fix = "write the thoughts into the answer, as the model does between <think> and </think>"
            raise fault(name, "holds thoughts, which would not be learnt", fix)


def _is_one(weight: Any) -> bool:
    """Return whether a weight, a number or its text, is 1."""
    try:
        return float(weight) == 1
    except (TypeError, ValueError):
        return False
