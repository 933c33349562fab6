"""What the rest of the trainer sees of data: examples as they were written, data sets, and rows of tokens.

Plain values, so that they travel between processes as they are. Tests: tests/trainer/data/, with the
modules that make them.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `role` is system, user or assistant."""

    role: str
    content: str
    reasoning: str | None = None
    """What an assistant thinks before the answer; the chat template says where that stands."""
    learnt: bool = True
    """False for an assistant's turn that is there to be read only (weight 0)."""

    def parts(self) -> list[str]:
        """Return role and content, and what else the turn has: two turns are equal if these are."""
        more = [f"reasoning {self.reasoning}"] if self.reasoning is not None else []
        return [self.role, self.content, *more, *([] if self.learnt else ["weight 0"])]


@dataclass(frozen=True)
class Example:
    """One row: a conversation that ends with the assistant, or a text; exactly one of `messages` and `text` is set."""

    id: str
    """Hash of the content but for white space, wherever the row comes from; what is random about a row follows from it."""
    origin: str
    """Where the row was read, such as `data.train[0] line 12`."""
    messages: tuple[Message, ...] | None = None
    text: str | None = None
    tools: str | None = None
    """Schemas of the functions that the conversation offers: a list, as JSON."""

    @property
    def content(self) -> tuple[tuple[Message, ...] | None, str | None, str | None]:
        """What is learnt, to the letter: in code and in verse white space is content, so two ids may be equal where this is not."""
        return self.messages, self.text, self.tools

    @property
    def answer_index(self) -> int:
        """The place of the last answer that is learnt among the messages."""
        messages = self.messages or ()
        answers = [index for index, message in enumerate(messages) if message.role == "assistant" and message.learnt]
        return answers[-1] if answers else len(messages) - 1

    @property
    def asked(self) -> tuple[Message, ...]:
        """What stands before the last answer that is learnt."""
        return (self.messages or ())[: self.answer_index]


@dataclass(frozen=True)
class Dataset:
    """Rows that were checked, without duplicates; no prompt stands on two sides. Those of a job lie on disk: see rowstore.py."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    findings: tuple[str, ...] = ()
    """What was left out or looks odd, in words for the user."""


def content_of(example: Example) -> bytes:
    """Return what is learnt, to the letter, as JSON; two rows are equal if this is."""
    turns = example.messages and [[turn.role, turn.content, turn.reasoning, turn.learnt] for turn in example.messages]
    return json.dumps([turns, example.text, example.tools], ensure_ascii=False).encode()


def example_of(name: str, origin: str, content: bytes) -> Example:
    """Return the row with an id and an origin whose content is given as JSON."""
    turns, text, tools = json.loads(content)
    return Example(name, origin, None if turns is None else tuple(Message(*turn) for turn in turns), text, tools)


@dataclass(frozen=True, slots=True)
class Sample:
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
