"""A question about a text as read from a row, with its right answers. Tests: tests/trainer/text/test_questionrows.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from trainer.data.rows import Example, hash_of
from trainer.text.words import bare

UNANSWERABLE = "unanswerable"
"""What a model learns to write where the text does not hold the answer."""
ELSEWHERE = -1


class Answer(NamedTuple):
    """A right answer."""

    text: str
    start: int = ELSEWHERE
    """Where it begins in the context, in characters; ELSEWHERE if the context does not hold it to the letter."""

    @property
    def end(self) -> int:
        """Where it ends, in characters."""
        return self.start + len(self.text)

    @property
    def is_span(self) -> bool:
        """Whether it is a part of the context."""
        return self.start != ELSEWHERE


@dataclass(frozen=True)
class QuestionExample(Example):
    """A question, the text that it is answered from, and its right answers: none where the text does not answer it."""

    question: str
    context: str
    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, origin: str, question: str, context: str, answers: Sequence[Answer]) -> Self:
        """Return the example, with an id derived from its content."""
        return cls(hash_of([question, context, *(answer.text for answer in answers)]), origin, question, context, tuple(answers))

    def to_wire(self) -> list[Any]:
        """Return question, context, and text and start of each answer."""
        return [self.question, self.context, [list(answer) for answer in self.answers]]

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example that `to_wire` serialized as `wire`."""
        question, context, answers = wire
        return cls(name, origin, question, context, tuple(Answer(*answer) for answer in answers))

    @property
    def prompt_key(self) -> str:
        """Hash of the context: a model that learned one question about a text knows the text when it is asked another."""
        return hash_of([self.context])

    @property
    def asked_key(self) -> str:
        """Hash of context and question: there may be many questions about one text."""
        return hash_of([self.context, self.question])

    @property
    def read_beside(self) -> str:
        """The context."""
        return self.context

    @property
    def prompt_words(self) -> str:
        """Words of the context."""
        return bare(self.context)

    @property
    def answer(self) -> str:
        """The answer to learn: the first one."""
        return self.answers[0].text if self.answers else UNANSWERABLE

    @property
    def span(self) -> Answer | None:
        """The answer to learn as a part of the context: the first that is one; None if none is."""
        return next((answer for answer in self.answers if answer.is_span), None)

    @property
    def text_size(self) -> tuple[int, int]:
        """Characters and UTF-8 bytes of question and context, which may be read in several windows."""
        return len(self.question) + len(self.context), len(self.question.encode()) + len(self.context.encode())
