"""Word error rate, computed by jiwer, which is imported on first use. Test: tests/trainer/evaluation/metrics/test_worderrors.py."""

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
    """Word errors in the corpus divided by the words of the references; 0 is perfect, values above 1 are possible.

    Case and punctuation are ignored: a missing comma is not an error.
    """

    facts = FACTS[MetricName.WER]
    splits_words = True

    def undefined(self, references: Sequence[str]) -> str | None:
        """Undefined unless the references have words separated by spaces."""
        writing = writing_of(references)
        if not writing.has_words:
            return f"{writing.unspaced} of {len(references)} references are in a script without spaces between words"
        if not any(character.isalnum() for reference in references for character in reference):
            return "no reference has a word"
        return None

    def measure(self, answers: Sequence[str], references: Sequence[str]) -> Figure:
        """Run jiwer on each row, and divide the total errors by the total words."""
        import jiwer

        errors = words = 0
        for answer, reference in zip(map(_normalized, answers), map(_normalized, references), strict=True):
            words += len(reference.split())
            if reference:
                counts = jiwer.process_words(reference, answer)
                errors += counts.substitutions + counts.deletions + counts.insertions
            else:  # jiwer rejects an empty reference; every word of the answer is an insertion
                errors += len(answer.split())
        return Figure(errors / words, f"case:lower|punct:removed|tok:space|level:corpus|jiwer:{importlib.metadata.version('jiwer')}")


def _normalized(text: str) -> str:
    return " ".join(str(_normalize()(text)).split())


@cache
def _normalize() -> Any:
    import jiwer

    return jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])


METRICS = (CorpusWordErrorRate(),)
