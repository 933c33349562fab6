"""Corpus-level text metrics, BLEU and chrF by sacrebleu, word error rate by jiwer, as `evaluate` metrics of our own.

`evaluate.load` would download and run a script from the hub; subclasses need neither the hub nor its trust.
Test: tests/trainer/evaluation/test_text.py.
"""

import importlib.metadata
import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import jiwer
from sacrebleu.metrics import BLEU, CHRF

from trainer.evaluation.figures import Figure

_FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class TextMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric over pairs of one hypothesis and one reference, in memory."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "", citation="", inputs_description="", features=datasets.Features(_FEATURES)
        )


class CorpusBleu(TextMetric):
    """BLEU of the corpus, 0 to 100 (Papineni et al. 2002; Post 2018, arXiv:1804.08771)."""

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        metric = BLEU()
        score = metric.corpus_score(list(predictions), [list(references)])
        return {"value": float(score.score), "signature": str(metric.get_signature())}


class CorpusChrf(TextMetric):
    """chrF2 of the corpus, 0 to 100 (Popovic 2015, W15-3049)."""

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        metric = CHRF()
        score = metric.corpus_score(list(predictions), [list(references)])
        return {"value": float(score.score), "signature": str(metric.get_signature())}


class CorpusWordErrorRate(TextMetric):
    """Word errors of the corpus divided by the words of the references; 0 is perfect, above 1 is possible.

    Case and punctuation are taken out first: an answer is not wrong for a comma.
    """

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        errors = words = 0
        for hypothesis, reference in zip(map(_normalised, predictions), map(_normalised, references), strict=True):
            words += len(reference.split())
            if reference:
                counts = jiwer.process_words(reference, hypothesis)
                errors += counts.substitutions + counts.deletions + counts.insertions
            else:  # jiwer knows no empty reference; every word of the hypothesis is one too many
                errors += len(hypothesis.split())
        version = importlib.metadata.version("jiwer")
        # References of signs alone, "+" or "-", have no words to get wrong: undefined, and told as such, not a fault.
        return {
            "value": errors / words if words else math.nan,
            "signature": f"case:lower|punct:removed|tok:space|level:corpus|jiwer:{version}",
        }


_NORMALISE = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])

METRICS: dict[str, tuple[type[TextMetric], str]] = {
    "bleu": (CorpusBleu, "0-100"),
    "chrf": (CorpusChrf, "0-100"),
    "wer": (CorpusWordErrorRate, "errors per reference word"),
}


def _normalised(text: str) -> str:
    return " ".join(str(_NORMALISE(text)).split())


def text_metrics(references: Sequence[str], hypotheses: Sequence[str], names: Sequence[str]) -> dict[str, Figure]:
    """Return the figures `names` (bleu, chrf, wer) of hypotheses against references, one of each per row.

    Other names are passed over, so that a job's whole list of metrics can be given. Raises ValueError when the lists
    differ in length or are empty.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        raise ValueError("text metrics need at least one row")
    results = {}
    for name in names:
        if name in METRICS:
            metric, unit = METRICS[name]
            result = metric().compute(predictions=list(hypotheses), references=list(references))
            results[name] = Figure(result["value"], result["signature"], unit)
    return results
