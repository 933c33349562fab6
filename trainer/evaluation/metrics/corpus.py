"""Base class of metrics of answers that a model has written, over the whole corpus.

They run as custom `evaluate` metrics (modules.py), because `evaluate.load` would download and run a script from the hub. An undefined
figure has a reason instead of a value: it is neither 0 nor the worst. Tests: tests/trainer/evaluation/metrics/.
"""

from collections.abc import Sequence
from itertools import chain
from typing import ClassVar

from trainer.evaluation.metrics.base import Figure, Metric
from trainer.evaluation.metrics.evidence import Answers
from trainer.evaluation.metrics.modules import run
from trainer.evaluation.metrics.references import writing_of

NO_ANSWERS = "no row asks for an answer"
References = Sequence[Sequence[str]]
"""The right answers of each row: one or more, of differing number."""


class TextMetric(Metric[Answers]):
    """A metric of generated answers."""

    splits_words: ClassVar[bool] = False
    """Whether it counts words or tokens, and so depends on how the references' script separates words."""

    needs_references: ClassVar[bool] = True
    """Whether it compares answers with references, so that every row needs one."""

    def unfit(self, references: References) -> str | None:
        """Return why the metric is undefined for these references (at least one), whatever a model answers; None if it is defined.

        Depends only on the references, so that base and tuned model are treated alike and users know before training.
        """
        return None

    def reason_for(self, references: References) -> str | None:
        """Return why the metric has no value for rows with these references; None if it has one. Without rows none has."""
        if not references:
            return NO_ANSWERS
        without = sum(not texts for texts in references)
        if without and self.needs_references:
            return f"{without} of {len(references)} rows have no reference"
        return self.unfit(references)

    def reason_left_out(self, evidence: Answers) -> str | None:
        """Return what `reason_for` says of the references."""
        return self.reason_for(evidence.references)

    def doubt(self, references: References) -> str | None:
        """Return a caveat about figures on these references, if there is one though the metric is defined."""
        return None

    def compute(self, evidence: Answers) -> Figure:
        """Return the figure over all answers, computed as an `evaluate` metric."""
        return run(self, evidence)


def without_words(references: References) -> str | None:
    """Return why words cannot be counted: the references are in a script without spaces between them; None if they can."""
    texts = flat(references)
    writing = writing_of(texts)
    return None if writing.has_words else f"{writing.unspaced} of {len(texts)} references are in a script without spaces between words"


def flat(references: References) -> list[str]:
    """Return the references of all rows in one list."""
    return list(chain.from_iterable(references))
