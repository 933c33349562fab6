"""Warnings about questions and the texts that they are about. Tests: tests/trainer/tasks/test_question_answering.py."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from trainer.data.sampled import Sampled
from trainer.text.controls import in_text
from trainer.text.findings import control_token_findings
from trainer.text.questions import UNANSWERABLE, QuestionExample
from trainer.text.shortening import shortened_findings


def question_findings(side: Sampled[QuestionExample], tokenizer: Any) -> list[str]:
    """Find questions and texts that contain the names of control tokens."""
    found = ((example, in_text(tokenizer).search(f"{example.question}\n{example.context}")) for example in different(side))
    return control_token_findings(side.name, [(example, match[0]) for example, match in found if match])


def different(side: Sampled[QuestionExample]) -> Iterator[QuestionExample]:
    """Yield each example of a data set once, however many windows it has."""
    return (next(windows) for _, windows in groupby(side.examples, key=lambda example: example.origin))


def writing_findings(sides: Sequence[Sampled[QuestionExample]]) -> list[str]:
    """Report texts that were shortened, and what is learned where there is no answer."""
    findings = [finding for side in sides for finding in shortened_findings(side)]
    lacking = sum(not example.answers for example in sides[0].examples)
    if lacking:
        rows = "1 row has" if lacking == 1 else f"{lacking} rows have"
        findings.append(f"{sides[0].name}: {rows} no answer; the model learns to write {UNANSWERABLE!r} there")
    return findings
