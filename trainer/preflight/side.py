"""The rows of one set as the model will see them, for the doctor to look at.

Tests: tests/trainer/preflight/test_doctor.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainer.chat.tokens import read
from trainer.chat.turns import Conversation
from trainer.data.rows import Example, Sample
from trainer.text.pieces import pieces_of

SAMPLE_TEXTS = 2000
"""Texts of a set that are tokenized: a share of one in a hundred is seen about twenty times. Of conversations all are."""
LONGEST_TEXTS = 50
"""The longest texts are always in the sample: they are the ones that do not fit."""


@dataclass(frozen=True)
class Side:
    """Rows of one set with their tokens; of a chat also what the template made of each.

    A text that makes several pieces stands there as often, once for each.
    """

    name: str
    total: int
    seen: int
    examples: Sequence[Example]
    rows: Sequence[Sample]
    conversations: Sequence[Conversation] = ()

    def of(self) -> str:
        """Say how many rows were looked at."""
        return count_of(self.total) if self.seen == self.total else f"{self.seen} sampled rows of {self.total}"


def read_side(name: str, examples: Sequence[Example], tokenizer: Any, max_length: int) -> Side:
    """Return the rows of a set as the model will see them; raises InputError for one that cannot be learnt as it is written.

    Every conversation is read, because each may meet another part of the template; of texts there is a sample.
    """
    if examples[0].messages is None:
        sample = _sample(examples)
        pieces = [piece for example in sample for piece in pieces_of(example, tokenizer, max_length)]
        return Side(name, len(examples), len(sample), [piece.example for piece in pieces], [piece.tokens for piece in pieces])
    rows, conversations = [], []
    for example in examples:
        reading = read(example, tokenizer)
        rows.append(reading.tokens(tokenizer, max_length))
        conversations.append(replace(reading.conversation, text=""))
    return Side(name, len(examples), len(examples), examples, rows, conversations)


def _sample(texts: Sequence[Example]) -> list[Example]:
    """Return texts spread evenly over the set, and the longest ones."""
    if len(texts) <= SAMPLE_TEXTS:
        return list(texts)
    chosen = {int(number * len(texts) / SAMPLE_TEXTS) for number in range(SAMPLE_TEXTS)}
    chosen.update(sorted(range(len(texts)), key=lambda index: len(texts[index].text or ""))[-LONGEST_TEXTS:])
    return [texts[index] for index in sorted(chosen)]


def count_of(rows: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if rows == 1 else f"{rows} rows"
