"""A text with its class, or its classes, as read from a row. Tests: tests/trainer/text/test_label.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from trainer.data.jsonrows import parse
from trainer.data.reading import Row
from trainer.data.records import kind_of, shown
from trainer.data.rows import Example, Skipped, hash_of
from trainer.text.words import bare


@dataclass(frozen=True)
class LabelExample(Example):
    """A text and the names of its classes."""

    few_answers: ClassVar[bool] = True

    text: str
    labels: tuple[str, ...]
    """One; where the rows of a job are lists any number, sorted."""
    listed: bool = False
    """Whether the row gives its labels as a list, so that it may have any number of them."""

    @classmethod
    def of(cls, origin: str, text: str, labels: Sequence[str], *, listed: bool = False) -> Self:
        """Return the example, with an id derived from its content."""
        return cls(hash_of([text, *labels]), origin, text, tuple(labels), listed)

    def to_wire(self) -> list[Any]:
        """Return text, labels, and whether they are a list."""
        return [self.text, list(self.labels), self.listed]

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example that `to_wire` serialized as `wire`."""
        text, labels, listed = wire
        return cls(name, origin, text, tuple(labels), listed)

    @property
    def shown(self) -> str:
        """The text."""
        return self.text

    @property
    def prompt_key(self) -> str:
        """Hash of the text."""
        return hash_of([self.text])

    @property
    def prompt_words(self) -> str:
        """Words of the text."""
        return bare(self.text)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.labels

    @property
    def answer(self) -> str:
        """The names of the classes, with commas between them."""
        return ", ".join(self.labels)


def labels_in(row: Row) -> tuple[tuple[str, ...], bool] | Skipped:
    """Return the names of a row's classes, and whether it gives them as a list; raises InputError for what is no class."""
    column = row.layout.columns["label"]
    value = _decoded(row.value("label"))
    if isinstance(value, list):
        names = {_name(row, item) for item in value}
        return tuple(sorted(names - {""})), True
    name = "" if value is None else _name(row, value)
    return ((name,), False) if name else Skipped(column)


def _decoded(value: Any) -> Any:
    """Return the list that a cell of a table holds as JSON; anything else as it is."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        try:
            found = parse(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, list) else value
    return value


def _name(row: Row, value: Any) -> str:
    """Return the name of a class that is given as text, as a whole number, or as true or false."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if isinstance(value, str):
        return row.text("label", repr(row.layout.columns["label"]), value).strip()
    problem = f"{row.layout.columns['label']!r} is {kind_of(value)}, not a class: {shown(str(value))}"
    raise row.fault("label", problem, "give the name or number of a class, or a list of them")


def in_order(names: set[str]) -> tuple[str, ...]:
    """Return the names of classes in the order of their numbers: as numbers if all are, else by name.

    Names of one number, such as 1 and 01, are in the order of names: that of a set differs between processes.
    """
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))
