"""Warnings about questions and the texts that they are about. Tests: tests/trainer/tasks/test_question_answering.py."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from finetune.api.errors import InputError
from trainer.data.sampled import Sampled
from trainer.data.shards import loss_tokens_of
from trainer.text.controls import in_text
from trainer.text.findings import control_token_findings
from trainer.text.questions import UNANSWERABLE, QuestionExample
from trainer.text.shortening import shortened_findings


def question_findings(side: Sampled[QuestionExample], tokenizer: Any) -> list[str]:
    """Find questions and texts that contain the names of control tokens."""
    found = ((example, in_text(tokenizer).search(f"{example.question}\n{example.context}")) for example in different(side))
    return control_token_findings(side.name, [(example, match[0]) for example, match in found if match])


def lost_answers(side: Sampled[QuestionExample], *, learned: bool) -> list[str]:
    """Report answers that no model can find in their texts; raises InputError if no row that is `learned` has anything else."""
    # A row without targets; all of its windows have none.
    places = np.flatnonzero(loss_tokens_of(side.rows) == 0).tolist()
    lost = {example.origin: example for example in map(side.examples.__getitem__, places)}
    elsewhere = [origin for origin, example in lost.items() if example.span is None]
    unwritten = [origin for origin, example in lost.items() if example.span is not None]
    then = "nothing is learned from such rows" if learned else "only SQuAD's figures count such rows"
    findings = []
    kinds = ((elsewhere, "is not a part of the text", "are not a part of the text"),
             (unwritten, "the tokenizer cannot write", "the tokenizer cannot write"))  # fmt: skip
    for origins, one, several in kinds:
        if not origins:
            continue
        has = f"has an answer that {one}" if len(origins) == 1 else f"have answers that {several}"
        said = f"{len(origins)} of {side.of()} {has} (the first: {origins[0]})"
        if learned and len(places) == len(side.rows):
            fix = "give rows whose answers are words in their texts, or a model whose tokenizer knows their script"
            raise InputError(side.name, f"none of the examined answers can be learned: {said}", fix)
        findings.append(f"{side.name}: {said}; {then}")
    return findings


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
