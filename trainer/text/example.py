"""A plain text as the rows hold it. Tests: tests/trainer/text/test_pieces.py, tests/trainer/tasks/test_conformance.py."""

from dataclasses import dataclass
from typing import Any, Self

from trainer.data.rows import Example, hash_of
from trainer.text.words import bare


@dataclass(frozen=True)
class TextExample(Example):
    """A text, all of which is learnt."""

    text: str

    @classmethod
    def of(cls, origin: str, text: str) -> Self:
        """Return the example with the id that follows from its content."""
        return cls(hash_of([text]), origin, text)

    def to_wire(self) -> str:
        """Return the text."""
        return self.text

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example of a text."""
        return cls(name, origin, wire)

    @property
    def prompt_key(self) -> str:
        """The id: nobody asks for a part of a text."""
        return self.id

    @property
    def prompt_words(self) -> str:
        """All of its words."""
        return bare(self.text)

    @property
    def text_size(self) -> tuple[int, int]:
        """Characters and UTF-8 bytes."""
        return len(self.text), len(self.text.encode())
