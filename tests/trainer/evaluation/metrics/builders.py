"""Evidence that is easy to write, and answers measured against references, for tests of metrics."""

from collections.abc import Sequence

import numpy as np

from finetune.api.evaluation import TextNormalization
from finetune.api.metrics import MetricName, Needs, metrics_needing
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Answers, Prediction, TokenRows
from trainer.evaluation.metrics.registry import compute

ALL = metrics_needing(Needs.GENERATED_TEXT)
REFERENCES = ["The operator starts one Ray job per attempt.", "Checkpoints are verified by reading back.", "It resumes from step 40."]
HYPOTHESES = ["The operator starts a Ray job for each attempt.", "Checkpoints are verified by reading back!", "it resumes"]


def answers_to(references: Sequence[str | Sequence[str]], answers: Sequence[str], groups: Sequence[str] = (),
               normalization: TextNormalization = TextNormalization.BASIC) -> Answers:  # fmt: skip
    """Return answers, each with its reference or references."""
    several = [(right,) if isinstance(right, str) else tuple(right) for right in references]
    rows = zip(several, answers, groups or [""] * len(answers), strict=True)
    return Answers(tuple(Prediction("", right, answer, group=group) for right, answer, group in rows), normalization)


def measured_by(references: Sequence[str | Sequence[str]], answers: Sequence[str], names: Sequence[str]) -> dict[MetricName, Figure]:
    """Return the figures `names` of the answers."""
    return compute([MetricName(name) for name in names], {Needs.GENERATED_TEXT: answers_to(references, answers)})


def token_rows(*rows: tuple[float, int, int]) -> TokenRows:
    """Return rows of likelihood, tokens and bytes."""
    nll, tokens, size = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return TokenRows(np.array(nll, np.float64), np.array(tokens, np.int64), np.array(size, np.int64))
