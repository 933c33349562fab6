"""A text and what to answer to it, for every task that turns one text into another. Tests: tests/trainer/text/test_pair.py."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from finetune.api.errors import InputError
from trainer.data.jsonrows import parse
from trainer.data.reading import Row
from trainer.data.records import kind_of, shown
from trainer.data.rows import Example, Skipped, hash_of
from trainer.text.words import bare

REFERENCES_FIX = "write a text, or a list of texts of which the first is learned"


@dataclass(frozen=True)
class PairExample(Example):
    """A text with its answer; evaluation accepts any of several."""

    given: str
    """What the model reads."""
    references: tuple[str, ...]
    """At least one; the first is learned."""
    languages: str = ""
    """Of a translation, such as en-de; part of the question."""

    @classmethod
    def of(cls, origin: str, given: str, references: tuple[str, ...], languages: str = "") -> Self:
        """Return the example, with an id derived from its content."""
        parts = [given, *references, *([languages] if languages else [])]
        return cls(hash_of(parts), origin, given, references, languages)

    def to_wire(self) -> list[Any]:
        """Return all that it holds."""
        return [self.given, list(self.references), self.languages]

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example that `to_wire` serialized as `wire`."""
        given, references, languages = wire
        return cls(name, origin, given, tuple(references), languages)

    @property
    def prompt_key(self) -> str:
        """Hash of what is given and the languages; of the answers where nothing is: rows with nothing in common are no repetitions."""
        return hash_of([self.given or "\0".join(["", *self.references]), *([self.languages] if self.languages else [])])

    @property
    def prompt_words(self) -> str:
        """Words of what is given, after the languages: the same text is another question in another language."""
        return f"{self.languages} {bare(self.given)}" if self.languages else bare(self.given)

    @property
    def group(self) -> str:
        """The languages, for which figures are also given apart."""
        return self.languages

    @property
    def answer(self) -> str:
        """The text to learn."""
        return self.references[0]


def references_of(row: Row, role: str, value: Any) -> tuple[str, ...] | Skipped:
    """Return the texts in a column of answers, which holds one or a list; a row without words there is skipped."""
    column = row.layout.columns[role]
    value = value if row.record.typed else _listed(value)
    if isinstance(value, list):
        if any(text is not None and not isinstance(text, str) for text in value):
            raise _no_texts(row, role, column, value)
        found = tuple(row.text(role, repr(column), text) for text in value if text is not None)
    else:
        found = () if value is None else (row.text(role, repr(column), value),)
    kept = tuple(dict.fromkeys(text for text in found if text.strip()))
    return kept or Skipped(column)


def _listed(value: Any) -> Any:
    """Return the list of texts that a cell of a table holds as JSON; any other text may begin with a bracket and is one."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            found = parse(value)
            return found if isinstance(found, list) and found and all(isinstance(text, str) for text in found) else value
    return value


def _no_texts(row: Row, role: str, column: str, value: list[Any]) -> InputError:
    odd = next(text for text in value if text is not None and not isinstance(text, str))
    return row.fault(role, f"{column!r} holds {kind_of(odd)}, not a text: {shown(str(odd))}", REFERENCES_FIX)
