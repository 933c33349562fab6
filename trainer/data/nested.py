"""Unfolds SQuAD's nested form: articles with paragraphs, each with a context and its questions, become a row for each question.

Articles without paragraphs and paragraphs without questions are no rows; findings count them.
Tests: tests/trainer/data/test_nested.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from finetune.api.errors import InputError
from trainer.data.records import Record, kind_of, shown

PARAGRAPHS, QUESTIONS = "paragraphs", "qas"
OF_ARTICLES = frozenset({"title", PARAGRAPHS})
"""What an article has, and nothing that a row is made of."""


@dataclass
class Empty:
    """What has no rows in it, counted: articles without paragraphs, and paragraphs without questions."""

    articles: int = 0
    paragraphs: int = 0
    first: str = ""
    file: str = ""
    """The file that is read, if the source has several."""

    def article(self, place: Record) -> None:
        """Count an article."""
        self.articles, self.first = self.articles + 1, self.first or self._where(place)

    def paragraph(self, place: Record) -> None:
        """Count a paragraph."""
        self.paragraphs, self.first = self.paragraphs + 1, self.first or self._where(place)

    def findings(self, field: str) -> list[str]:
        """Return what is to be said of the source at this field."""
        counted = ((self.articles, "article", PARAGRAPHS), (self.paragraphs, "paragraph", "questions"))
        said = [f"{count} {one if count == 1 else one + 's'} without {of}" for count, one, of in counted if count]
        verb = "adds" if self.articles + self.paragraphs == 1 else "add"
        return [f"{field}: {' and '.join(said)} {verb} no rows (the first: {self.first})"] if said else []

    def _where(self, place: Record) -> str:
        return replace(place, file=self.file).where


def unfolded(field: str, records: Iterable[Record], empty: Empty | None = None) -> Iterator[Record]:
    """Yield records, and in place of an article or a paragraph one for each of its questions, with the paragraph's context.

    What has no questions in it is counted in `empty`. Raises InputError for an article or paragraph that is built otherwise.
    """
    empty = empty or Empty()
    for record in records:
        values = record.values
        if "context" in values and _are_questions(values.get(QUESTIONS)):
            if not values[QUESTIONS]:
                empty.paragraph(record)
            yield from _questions(field, replace(record, values={}), values)
        elif values.get(PARAGRAPHS) == [] and values.keys() <= OF_ARTICLES:
            empty.article(record)
        elif _is_article(values):
            for index, paragraph in enumerate(values[PARAGRAPHS]):
                inner = replace(record, place=f"{record.place}.{PARAGRAPHS}[{index}]", values={})
                if not isinstance(paragraph, dict) or not isinstance(paragraph.get(QUESTIONS), list):
                    raise _fault(field, inner, f"is not an object with a list {QUESTIONS!r}", paragraph)
                if not paragraph[QUESTIONS]:
                    empty.paragraph(inner)
                yield from _questions(field, inner, paragraph)
        else:
            yield record


def _is_article(values: dict[str, Any]) -> bool:
    paragraphs = values.get(PARAGRAPHS)
    return isinstance(paragraphs, list) and any(isinstance(item, dict) and QUESTIONS in item for item in paragraphs)


def _are_questions(value: Any) -> bool:
    return isinstance(value, list) and (not value or any(isinstance(item, dict) and "question" in item for item in value))


def _questions(field: str, place: Record, paragraph: dict[str, Any]) -> Iterator[Record]:
    shared = {name: value for name, value in paragraph.items() if name != QUESTIONS}
    for index, question in enumerate(paragraph[QUESTIONS]):
        inner = replace(place, place=f"{place.place}.{QUESTIONS}[{index}]")
        if not isinstance(question, dict):
            raise _fault(field, inner, f"is not an object but {kind_of(question)}", question)
        yield replace(inner, values=shared | question)


def _fault(field: str, place: Record, problem: str, value: Any) -> InputError:
    fix = 'write it as SQuAD does: {"context": "…", "qas": [{"question": "…", "answers": [{"text": "…", "answer_start": 0}]}]}'
    return InputError(field, f"{place.where} {problem}: {shown(str(value))}", fix)
