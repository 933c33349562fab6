"""Unfolds SQuAD's nested form: articles with paragraphs, each with a context and its questions, become a row for each question.

Tests: tests/trainer/data/test_nested.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from finetune.api.errors import InputError
from trainer.data.records import Record, kind_of, shown

PARAGRAPHS, QUESTIONS = "paragraphs", "qas"


def unfolded(field: str, records: Iterable[Record]) -> Iterator[Record]:
    """Yield records, and in place of an article or a paragraph one for each of its questions, with the paragraph's context.

    Raises InputError for an article or paragraph that is built otherwise.
    """
    for record in records:
        values = record.values
        if "context" in values and _are_questions(values.get(QUESTIONS)):
            yield from _questions(field, replace(record, values={}), values)
        elif _is_article(values):
            for index, paragraph in enumerate(values[PARAGRAPHS]):
                inner = replace(record, place=f"{record.place}.{PARAGRAPHS}[{index}]", values={})
                if not isinstance(paragraph, dict) or not isinstance(paragraph.get(QUESTIONS), list):
                    raise _fault(field, inner, f"is not an object with a list {QUESTIONS!r}", paragraph)
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
