"""Word error rate by jiwer, which is imported when a figure is computed. Test: tests/trainer/evaluation/metrics/test_worderrors.py."""

import importlib.metadata
from collections.abc import Sequence
from functools import cache
from typing import Any

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.corpus import TextMetric
from trainer.evaluation.metrics.references import writing_of


class CorpusWordErrorRate(TextMetric):
    """Word errors of the corpus divided by the words of the references; 0 is perfect, above 1 is possible.

    Case and punctuation are removed first: an answer is not wrong for a comma.
    """

    facts = FACTS[MetricName.WER]
    splits_words = True

    def undefined(self, references: Sequence[str]) -> str | None:
        """It needs words, and spaces between them."""
        writing = writing_of(references)
        if not writing.has_words:
            return f"{writing.unspaced} of {len(references)} references are in a script without spaces between words"
        if not any(character.isalnum() for reference in references for character in reference):
            return "no reference has a word"
        return None

    def measure(self, answers: Sequence[str], references: Sequence[str]) -> Figure:
        """Run jiwer, row by row, and add up."""
        import jiwer

        errors = words = 0
        for answer, reference in zip(map(_normalised, answers), map(_normalised, references), strict=True):
            words += len(reference.split())
            if reference:
                counts = jiwer.process_words(reference, answer)
                errors += counts.substitutions + counts.deletions + counts.insertions
            else:  # jiwer knows no empty reference; every word of the answer is one too many
                errors += len(answer.split())
        return Figure(errors / words, f"case:lower|punct:removed|tok:space|level:corpus|jiwer:{importlib.metadata.version('jiwer')}")


def _normalised(text: str) -> str:
    return " ".join(str(_normalise()(text)).split())


@cache
def _normalise() -> Any:
    import jiwer

    return jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])


METRICS = (CorpusWordErrorRate(),)
