"""A plain text as read from a row. Tests: tests/trainer/text/test_pieces.py, tests/trainer/tasks/test_conformance.py."""

from dataclasses import dataclass
from typing import Any, Self

from trainer.data.rows import Example, hash_of
from trainer.text.words import bare


@dataclass(frozen=True)
class TextExample(Example):
    """A text, all of which is learned."""

    text: str

    @classmethod
    def of(cls, origin: str, text: str) -> Self:
        """Return the example, with an id derived from its content."""
        return cls(hash_of([text]), origin, text)

    def to_wire(self) -> str:
        """Return the text, which is all that the example holds."""
        return self.text

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example of a text that `to_wire` returned."""
        return cls(name, origin, wire)

    @property
    def prompt_key(self) -> str:
        """The id: a plain text has no separate prompt."""
        return self.id

    @property
    def prompt_words(self) -> str:
        """Words of the whole text."""
        return bare(self.text)

    @property
    def text_size(self) -> tuple[int, int]:
        """Characters and UTF-8 bytes."""
        return len(self.text), len(self.text.encode())
