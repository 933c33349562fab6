"""The data types that the rest of the trainer uses: examples, data sets, and rows of tokens.

Plain values, so that they can be pickled. What an example contains depends on its task: see trainer/chat/example.py
and trainer/text/example.py. Tests: tests/trainer/data/, with the modules that make them.
"""

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Generic, Self, TypeVar

from finetune.api.adaptation import DOMAIN, GENERAL, REPLAY


@dataclass(frozen=True)
class Example(ABC):
    """One row, as its task reads it."""

    few_answers: ClassVar[bool] = False
    """Whether many rows share an answer by nature, as those of a class do."""

    id: str
    """Hash of the content, ignoring white space and where the row comes from; seeds everything random about the row."""
    origin: str
    """Where the row was read from, such as `data.train[0] line 12`."""

    @abstractmethod
    def to_wire(self) -> Any:
        """Return the exact content as a JSON value, without id and origin: rows with the same value are duplicates."""

    @classmethod
    @abstractmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example with this id and origin that `to_wire` serialized as `wire`."""

    @property
    @abstractmethod
    def prompt_key(self) -> str:
        """Hex hash of the prompt (of plain text: all of it); rows that share it must not be on two sides of a split."""

    @property
    def asked_key(self) -> str:
        """Hex hash of what is asked: rows that share it, and differ in their answers, contradict each other."""
        return self.prompt_key

    @property
    @abstractmethod
    def prompt_words(self) -> str:
        """The prompt as lower-case words, to find prompts that are nearly equal."""

    @property
    def shown(self) -> str:
        """What the model reads of it, as people read it."""
        return self.prompt_words

    @property
    def read_beside(self) -> str:
        """The text that the model reads beside its question; empty for a task without such a text."""
        return ""

    @property
    def source(self) -> str:
        """The data source that the row was read from, such as `data.test[0]`."""
        return self.origin.partition(" ")[0]

    @property
    def group(self) -> str:
        """What figures are also given for apart, such as a pair of languages; "" for a task without groups."""
        return ""

    @property
    def answer(self) -> str | None:
        """The answer to learn; None for a task without answers."""
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of a row that has any: what `few_answers` are made of."""
        return () if self.answer is None else (self.answer,)

    @property
    def text_size(self) -> tuple[int, int]:
        """Characters and UTF-8 bytes of a text that may become several samples; zeros for a row that is always one."""
        return 0, 0


E = TypeVar("E", bound=Example)


@dataclass(frozen=True)
class Skipped:
    """Why a row is left out: an empty column, or `reason`, which continues `rows have`, as in `weight 0 for every answer`."""

    column: str = ""
    reason: str = ""
    none_left: str = ""
    """The problem if all rows of a source are left out; continues `no row of NAME`, as in `has an answer to learn`."""


def hash_of(parts: Iterable[str]) -> str:
    """Return the hash of texts, ignoring Unicode composition and the amount of white space."""
    canonical = "\0".join(" ".join(unicodedata.normalize("NFC", part).split()) for part in parts)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Dataset:
    """Checked rows without duplicates; no prompt is on two sides. A job's rows are on disk: see rowstore.py."""

    train: Sequence[Any]
    """Examples of the job's task; so are validation and test."""
    validation: Sequence[Any]
    test: Sequence[Any]
    findings: tuple[str, ...] = ()
    """What was left out or looks odd, one sentence each, for the user."""
    replay: Sequence[Any] = ()
    """Rows of the task from another domain, which are trained along."""
    general: Sequence[Any] = ()
    """Plain texts that are only measured, so that it shows what the model forgets."""
    domain: Sequence[Any] = ()
    """Plain texts of the domain, which are only measured."""

    def sides(self) -> dict[str, Sequence[Any]]:
        """Return the rows of each data set by the field that names it, such as data.train; train first. Of adaptation, those there are."""
        adapting = {REPLAY: self.replay, GENERAL: self.general, DOMAIN: self.domain}
        own = {"data.train": self.train, "data.validation": self.validation, "data.test": self.test}
        return {**own, **{name: rows for name, rows in adapting.items() if rows}}

    @property
    def learned(self) -> Sequence[Any]:
        """All rows that are trained on."""
        return Both(self.train, self.replay) if self.replay else self.train


@dataclass(frozen=True)
class Both(Sequence[Any]):
    """The members of two sequences, one after the other, read on access."""

    first: Sequence[Any]
    second: Sequence[Any]

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        return self.first[place] if place < len(self.first) else self.second[place - len(self.first)]

    def __iter__(self) -> Iterator[Any]:
        return chain(self.first, self.second)


@dataclass(frozen=True, slots=True)
class Sample:
    """One row as the model sees it; packed, so that a token takes 5 bytes instead of 44.

    A causal model's targets are among the tokens that it reads. Those of other models follow what they read, as the row's tail, with
    a mask of 1: the tokens of an answer, a class, the ends of a span, behind where its second text begins. (The masked tokens of a
    text have a mask of 1 where they are masked, and their own ids follow, as many, with a mask of 0.)
    """

    id: str
    input_ids: Sequence[int]
    loss_mask: Sequence[int]
    """As long as `input_ids`: 1 for each unit of the loss, else 0; never at index 0."""
    loss_bytes: int
    """UTF-8 bytes of the text of the tokens with loss, for bits per byte; special tokens have no text."""
    truncated: bool
    """Tokens beyond the maximum length were cut off."""
    tail: int
    """How many of `input_ids`, at their end, the model does not read; 0 for a causal model. Left out by mistake, targets would be read."""

    def __post_init__(self) -> None:
        """Pack ids and mask, given as lists or tuples, into arrays."""
        object.__setattr__(self, "input_ids", array("i", self.input_ids))
        object.__setattr__(self, "loss_mask", array("b", self.loss_mask))

    @property
    def read(self) -> Sequence[int]:
        """What the model reads."""
        return self.input_ids[: len(self.input_ids) - self.tail]

    @property
    def targets(self) -> Sequence[int]:
        """What follows it; empty for a causal model."""
        return self.input_ids[len(self.input_ids) - self.tail :]


@dataclass(frozen=True, slots=True)
class Piece(Generic[E]):
    """The source of one training row: an example, or part of a long one."""

    example: E
    tokens: Sample
    first: bool = True
    last: bool = True
    start: int = 0
    """Where the part begins in the text, in characters, without the context token."""
    end: int | None = None
    """Where it ends; None if the part is the whole text, or unknown."""
    note: str = ""
    """What the task noticed about the example while it made the tokens, for its findings; few pieces have different notes."""

    @property
    def whole(self) -> bool:
        """Whether this is all of its example."""
        return self.first and self.last


@dataclass(frozen=True)
class PieceCount:
    """Number of pieces that examples make: counted, or estimated from part of them."""

    pieces: int
    estimated: bool = False
