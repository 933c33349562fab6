"""Rows of every task for the conformance suite: the one place that a new task adds to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.api.tasks import ModelFamily, TaskName


@dataclass(frozen=True)
class SampleRow:
    """A row as a file holds it, and what a model should make of it."""

    values: dict[str, Any]
    learned: str
    """The text of the tokens with loss, with a token per byte, without special tokens."""
    only_read: tuple[str, ...] = ()
    """Texts of which no token has loss."""
    learned_by: Mapping[ModelFamily, str] = field(default_factory=dict)
    """By kinds of models that learn something else of the row."""


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
    TaskName.TEXT_GENERATION: SampleRows(
        [
            SampleRow({"prompt": "Once upon a time", "completion": " there was a boat."}, " there was a boat.", ("Once upon a time",)),
            SampleRow({"prompt": "Grüße an", "completion": " die 世界."}, " die 世界.", ("Grüße an",)),
        ],
        [{"prompt": "Where is it?", "completion": " "}, {"prompt": None, "completion": "Here."}],
        ({"prompt": "What is <|im_end|>?", "completion": "A token."}, "1 row has names of control tokens in the text, such as <|im_end|>"),
    ),
    TaskName.TRANSLATION: SampleRows(
        [
            SampleRow({"source": "The tall house.", "target": "Das hohe Haus."}, "Das hohe Haus.", ("The tall house.",)),
            SampleRow({"source": "Good day!", "target": ["Grüß Gott!", "Guten Tag!"]}, "Grüß Gott!", ("Good day!",)),
        ],
        [{"source": "Where is it?", "target": []}, {"source": " ", "target": "Hier."}],
        ({"source": "What is <|im_end|>?", "target": "Ein Token."}, "1 row has names of control tokens in the text, such as <|im_end|>"),
    ),
    TaskName.TRANSCRIPT_CORRECTION: SampleRows(
        [
            SampleRow({"hypothesis": "wear is the tall house", "reference": "Where is the tall house?"}, "Where is the tall house?"),
            SampleRow({"hypothesis": "grease an alle", "reference": "Grüße an alle."}, "Grüße an alle.", ("grease an alle",)),
            SampleRow({"hypothesis": "", "reference": "Here."}, "Here."),
        ],
        [{"hypothesis": "here", "reference": ""}, {"hypothesis": None, "reference": "Here."}],
        (
            {"hypothesis": "what is <|im_end|>", "reference": "What is it?"},
            "1 row has names of control tokens in the text, such as <|im_end|>",
        ),
    ),
    TaskName.LANGUAGE_MODELING: SampleRows(
        [
            # The first token of a text has nothing before it to be predicted from.
            SampleRow(
                {"text": "The river rises in the mountains and ends in the sea."},
                "he river rises in the mountains and ends in the sea.",
                learned_by={ModelFamily.ENCODER: "The river rises in the mountains and ends in the sea."},
            ),
            SampleRow({"text": "A short Grüße."}, " short Grüße.", learned_by={ModelFamily.ENCODER: "A short Grüße."}),
        ],
        [{"text": ""}, {"text": None}],
        ({"text": "A text with [SEP] or <|im_end|> in it."}, "1 row has names of control tokens in the text, such as "),
    ),
    TaskName.QUESTION_ANSWERING: SampleRows(
        [
            SampleRow(
                {"question": "Where is the tall house?", "context": "It is by the river.", "answers": ["by the river"]},
                "by the river",
                ("Where is the tall house?", "It is "),
            ),
            SampleRow(
                {
                    "question": "Grüße an wen?",
                    "context": "Ann sendet Grüße an die 世界.",
                    "answers": {"text": ["die 世界"], "answer_start": [20]},
                },
                "die 世界",
                ("Grüße an wen?", "Ann sendet "),
            ),
            SampleRow({"question": "Who came?", "context": "Nobody knows.", "answers": []}, "unanswerable", ("Who came?", "Nobody knows.")),
        ],
        [{"question": "Where is it?", "context": " ", "answers": ["here"]}, {"question": "Where?", "context": "Here.", "answers": None}],
        (
            {"question": "What is <|im_end|> or [SEP]?", "context": "It is a token.", "answers": ["a token"]},
            "1 row has names of control tokens in the text, such as ",
        ),
    ),
    TaskName.TEXT_CLASSIFICATION: SampleRows(
        [
            SampleRow({"text": "Where is my card?", "label": "arrival"}, "arrival", ("Where is my card?",)),
            SampleRow({"text": "Grüße: you charged me twice.", "label": "charged twice"}, "charged twice", ("Grüße: you charged me",)),
            SampleRow({"text": "It still has not come.", "label": "arrival"}, "arrival", ("It still has not come.",)),
        ],
        [{"text": " ", "label": "arrival"}, {"text": "Where is it?", "label": None}],
        ({"text": "What is [SEP] or <|im_end|>?", "label": "arrival"}, "1 row has names of control tokens in the text, such as "),
    ),
}
