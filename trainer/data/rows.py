"""What the rest of the trainer sees of data: examples as they were written, data sets, and rows of tokens.

Plain values, so that they travel between processes as they are. Tests: tests/trainer/data/, with the
modules that make them.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """One row: a conversation that ends with the assistant, or a text; exactly one of `messages` and `text` is set."""

    id: str
    """Hash of the content but for white space, wherever the row comes from; what is random about a row follows from it."""
    origin: str
    """Where the row was read, such as `data.train[0] line 12`."""
    messages: tuple[Message, ...] | None = None
    text: str | None = None

    @property
    def content(self) -> tuple[tuple[Message, ...] | None, str | None]:
        """What is learnt, to the letter: in code and in verse white space is content, so two ids may be equal where this is not."""
        return self.messages, self.text


@dataclass(frozen=True)
class Dataset:
    """Rows that were checked, without duplicates; no prompt stands on two sides."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    findings: tuple[str, ...] = ()
    """What was left out or looks odd, in words for the user."""


def digest_of(examples: Iterable[Example]) -> str:
    """Return the sha256, in hex, of rows to the letter and in their order."""
    digest = hashlib.sha256()
    for example in examples:
        turns = example.messages and [[message.role, message.content] for message in example.messages]
        digest.update(json.dumps([turns, example.text]).encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Tokens:
    """One row as the model sees it. Every rank holds all rows: packed, a token takes 5 bytes instead of 44."""

    id: str
    input_ids: Sequence[int]
    loss_mask: Sequence[int]
    """As long as `input_ids`: 1 where the token is a target that bears loss, else 0; never at index 0."""
    loss_bytes: int
    """UTF-8 bytes of the text of the loss-bearing tokens; special tokens have no text. For bits per byte."""
    truncated: bool
    """Tokens beyond the largest length were cut off."""

    def __post_init__(self) -> None:
        """Pack what was given as lists or tuples."""
        object.__setattr__(self, "input_ids", array("i", self.input_ids))
        object.__setattr__(self, "loss_mask", array("b", self.loss_mask))
