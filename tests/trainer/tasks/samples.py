"""Rows of every task for the conformance suite: the one place that a new task adds to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.tasks import TaskName


@dataclass(frozen=True)
class SampleRow:
    """A row as a file holds it, and what a model should make of it."""

    values: dict[str, Any]
    learned: str
    """The text of the tokens with loss, with a token per byte, without special tokens."""
    only_read: tuple[str, ...] = ()
    """Texts of which no token has loss."""


@dataclass(frozen=True)
class SampleRows:
    """Rows that are learned, rows that are left out with a reason, and one with something to report."""

    rows: Sequence[SampleRow]
    left_out: Sequence[dict[str, Any]]
    remarkable: tuple[dict[str, Any], str]
    """A row, and a part of the finding that it must lead to."""


SAMPLES: Mapping[TaskName, SampleRows] = {
    TaskName.CHAT: SampleRows(
        [
            SampleRow(
                {"prompt": "Where is the tall house?", "completion": "By the river."}, "By the river.", ("Where is the tall house?",)
            ),
            SampleRow(
                {"system": "Be brief.", "prompt": "Grüße an wen?", "completion": "An 世界."}, "An 世界.", ("Be brief.", "Grüße an wen?")
            ),
            SampleRow(
                {"prompt": "And then?", "completion": "Nothing.", "history": [["What is new?", "A boat."]]},
                "A boat.Nothing.",
                ("What is new?", "And then?"),
            ),
        ],
        [{"prompt": "Where is it?", "completion": " "}, {"prompt": None, "completion": "Here."}],
        ({"prompt": "What is <|im_end|>?", "completion": "A token."}, "1 row has names of control tokens in the text, such as <|im_end|>"),
    ),
    TaskName.LANGUAGE_MODELING: SampleRows(
        [
            # The first token of a text has nothing before it to be predicted from.
            SampleRow(
                {"text": "The river rises in the mountains and ends in the sea."}, "he river rises in the mountains and ends in the sea."
            ),
            SampleRow({"text": "A short Grüße."}, " short Grüße."),
        ],
        [{"text": ""}, {"text": None}],
        ({"text": "A text with <|im_end|> in it."}, "1 row has names of control tokens in the text, such as <|im_end|>"),
    ),
}
