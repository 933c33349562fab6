"""What the rest of the trainer sees of data: examples as they were written, data sets, and rows of tokens.

Plain values, so that they travel between processes as they are. What an example holds is its task's matter: see trainer/chat/example.py
and trainer/text/example.py. Tests: tests/trainer/data/, with the modules that make them.
"""

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar


@dataclass(frozen=True)
class Example(ABC):
    """One row as its task reads it."""

    id: str
    """Hash of the content but for white space, wherever the row comes from; what is random about a row follows from it."""
    origin: str
    """Where the row was read, such as `data.train[0] line 12`."""

    @abstractmethod
    def to_wire(self) -> Any:
        """Return what is learnt, to the letter, as JSON has it: two rows are equal if this is. Without id and origin."""

    @classmethod
    @abstractmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example with this id and origin that `to_wire` made `wire` of."""

    @property
    @abstractmethod
    def prompt_key(self) -> str:
        """Hash of what is asked, in hex: rows that share it must not be on two sides of a split. Of a text the whole."""

    @property
    @abstractmethod
    def prompt_words(self) -> str:
        """What is asked as words in lower case, to find prompts that are nearly equal."""

    @property
    def answer(self) -> str | None:
        """The answer that is to be learnt; None for a task without answers."""
        return None

    @property
    def text_size(self) -> tuple[int, int]:
        """Characters and UTF-8 bytes of a text that may become several samples; zeros for a row that is always one."""
        return 0, 0


E = TypeVar("E", bound=Example)


@dataclass(frozen=True)
class Skipped:
    """Why a row is left out: an empty column, or `reason`, what such rows have, as in `weight 0 for every answer`."""

    column: str = ""
    reason: str = ""
    none_left: str = ""
    """What is wrong with a source of which no row is left, as in `has an answer to learn`."""


def hash_of(parts: Iterable[str]) -> str:
    """Return the hash of texts; Unicode's composition and the amount of white space make no difference."""
    canonical = "\0".join(" ".join(unicodedata.normalize("NFC", part).split()) for part in parts)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Dataset:
    """Rows that were checked, without duplicates; no prompt is on two sides. Those of a job lie on disk: see rowstore.py."""

    train: Sequence[Any]
    """Examples of the job's task, as those of validation and test."""
    validation: Sequence[Any]
    test: Sequence[Any]
    findings: tuple[str, ...] = ()
    """What was left out or looks odd, in words for the user."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row as the model sees it. Every rank holds all rows: packed, a token takes 5 bytes instead of 44."""

    id: str
    input_ids: Sequence[int]
    loss_mask: Sequence[int]
    """As long as `input_ids`: 1 where the token is a target with loss, else 0; never at index 0."""
    loss_bytes: int
    """UTF-8 bytes of the text of the tokens with loss; special tokens have no text. For bits per byte."""
    truncated: bool
    """Tokens beyond the largest length were cut off."""

    def __post_init__(self) -> None:
        """Pack what was given as lists or tuples."""
        object.__setattr__(self, "input_ids", array("i", self.input_ids))
        object.__setattr__(self, "loss_mask", array("b", self.loss_mask))


@dataclass(frozen=True, slots=True)
class Piece(Generic[E]):
    """What one training row is made from: an example, or part of a long one."""

    example: E
    tokens: Sample
    first: bool = True
    last: bool = True
    start: int = 0
    """Where the words of the part begin in the text, in characters, without the context token."""
    end: int | None = None
    """Where they end; None if the part is the whole text."""

    @property
    def whole(self) -> bool:
        """Whether this is all of its example."""
        return self.first and self.last


@dataclass(frozen=True)
class PieceCount:
    """How many pieces examples make: counted, or estimated from part of them."""

    pieces: int
    estimated: bool = False
