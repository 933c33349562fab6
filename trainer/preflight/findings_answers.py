"""Finds prompts and answers that repeat, exactly or nearly, within a job's rows: conflicting answers, monotony, leakage.

Compares digests, because the texts of all rows may not fit in memory. Tests: tests/trainer/preflight/test_doctor.py.
"""

from collections.abc import Sequence

import numpy as np

from trainer.data.digests import Digests, as_digests, collect, digest, is_among, numbered
from trainer.data.rows import Dataset, Example
from trainer.data.rowstore import prompts_of

REPEATED_ANSWER_SHARE = 0.5


def answer_findings(examples: Sequence[Example]) -> list[str]:
    """Find prompts with several answers, and an answer that most prompts share."""
    if not examples or examples[0].answer is None:
        return []
    letters, words = bytearray(), bytearray()
    for example in examples:
        answer = example.answer or ""
        letters += digest(answer.strip().encode())
        words += digest(" ".join(answer.split()).encode())
    several = _several_answers(examples, as_digests(words))
    return several if examples[0].few_answers else [*several, *_repeated_answer(examples, as_digests(letters))]


def _several_answers(examples: Sequence[Example], answers: Digests) -> list[str]:
    prompt_of, first_rows = numbered(_asked_of(examples))
    answer_of, _ = numbered(answers)
    pairs = np.unique(prompt_of.astype(np.int64) * len(examples) + answer_of)
    several = np.bincount(pairs // len(examples), minlength=len(first_rows)) > 1
    count = int(several.sum())
    if not count:
        return []
    first = examples[int(several[prompt_of].argmax())].origin
    word = "1 prompt has" if count == 1 else f"{count} prompts have"
    return [f"data.train: {word} several different answers (the first: {first}); the model learns a mixture of them"]


def _asked_of(examples: Sequence[Example]) -> Digests:
    """Return the `asked_key` of each row; (n, 2). Only of tasks that ask several things of a prompt are all rows read."""
    if examples[0].asked_key == examples[0].prompt_key:
        return prompts_of(examples)
    return collect(bytes.fromhex(example.asked_key) for example in examples)


def _repeated_answer(examples: Sequence[Example], answers: Digests) -> list[str]:
    answer_of, first_rows = numbered(answers)
    counts = np.bincount(answer_of, minlength=len(first_rows))
    count, total = int(counts.max()), len(examples)
    if count <= 1 or count < REPEATED_ANSWER_SHARE * total:
        return []
    answer = (examples[int(first_rows[counts == count].min())].answer or "").strip()
    return [f"data.train: {count} of {total} rows have the same answer, «{answer[:60]}»; the model may learn to say little else"]


def near_leakage_findings(dataset: Dataset) -> list[str]:
    """Find held-out prompts that differ from a training prompt only in case, punctuation or spacing."""
    held_out = {"data.validation": dataset.validation, "data.test": dataset.test}
    if not any(map(len, held_out.values())):
        return []
    findings, train = [], _bare_digests(dataset.train)
    for name, rows in held_out.items():
        asked = _bare_digests(rows)
        near = is_among(asked, train)
        count = int(near.sum())
        if count:
            first = int(near.argmax())
            same = int(np.flatnonzero((train == asked[first]).all(axis=1))[-1])
            word = "1 row asks" if count == 1 else f"{count} rows ask"
            pair = f"{rows[first].origin} and {dataset.train[same].origin}"
            findings.append(
                f"{name}: {word} the same as a training row, except for case and punctuation ({pair}); its figures are too good"
            )
    return findings


def _bare_digests(examples: Sequence[Example]) -> Digests:
    return collect(digest(example.prompt_words.encode()) for example in examples)
