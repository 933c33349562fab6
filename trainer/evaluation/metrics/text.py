"""Corpus-level text metrics: BLEU and chrF by sacrebleu, word error rate by jiwer, exact match, as `evaluate` metrics of our own.

`evaluate.load` would download and run a script from the hub; subclasses need neither the hub nor its trust. A figure that is
undefined is left out with the reason: it is neither 0 nor the worst.
Test: tests/trainer/evaluation/metrics/test_text.py.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import jiwer
from sacrebleu.metrics import BLEU, CHRF

from finetune.api.metrics import METRICS, MetricName
from trainer.evaluation.figures import Figure
from trainer.evaluation.metrics.references import BLEU_ORDER, undefined, writing_of

_FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class TextMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric over pairs of one hypothesis and one reference, in memory."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "", citation="", inputs_description="", features=datasets.Features(_FEATURES)
        )


class ExactMatch(TextMetric):
    """Share of answers, 0 to 100, that equal the reference, ignoring case and how much white space there is where.

    White space at both ends is trimmed, and each run of it inside counts as one space; punctuation and accents matter.
    """

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        pairs = zip(map(_without_case_and_space, predictions), map(_without_case_and_space, references), strict=True)
        equal = sum(prediction == reference for prediction, reference in pairs)
        return {"value": 100 * equal / len(references), "signature": "case:fold|space:collapsed|punct:kept"}


class CorpusBleu(TextMetric):
    """BLEU of the corpus, 0 to 100 (Papineni et al. 2002; Post 2018, arXiv:1804.08771), of tokens that fit the references' script."""

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        metric = BLEU(tokenize=writing_of(references).tokenization)
        score = metric.corpus_score(list(predictions), [list(references)])
        measured = {"value": float(score.score), "signature": str(metric.get_signature())}
        # Of answers that share words with the references and have no 4-gram at all, its precision is 0 of 0.
        if score.counts[0] and not score.totals[-1]:
            measured |= {"value": None, "reason": f"no answer has the {BLEU_ORDER} tokens that BLEU needs"}
        return measured


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
        return {
            "value": errors / words,
            "signature": f"case:lower|punct:removed|tok:space|level:corpus|jiwer:{version}",
        }


_NORMALISE = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])

CLASSES: dict[MetricName, type[TextMetric]] = {
    MetricName.EXACT_MATCH: ExactMatch,
    MetricName.BLEU: CorpusBleu,
    MetricName.CHRF: CorpusChrf,
    MetricName.WER: CorpusWordErrorRate,
}


def _without_case_and_space(text: str) -> str:
    return " ".join(text.split()).casefold()


def _normalised(text: str) -> str:
    return " ".join(str(_NORMALISE(text)).split())


def text_metrics(references: Sequence[str], hypotheses: Sequence[str], names: Sequence[MetricName]) -> dict[MetricName, Figure]:
    """Return the figures `names` (exactMatch, bleu, chrf, wer) of hypotheses against references, one of each per row.

    Other names are passed over, so that a job's whole list of metrics can be given. A figure that is undefined has a reason
    in place of a value. Raises ValueError when the lists differ in length or are empty.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        raise ValueError("text metrics need at least one row")
    results = left_out(references, names)
    for name in names:
        if name in CLASSES and name not in results:
            measured = CLASSES[name]().compute(predictions=list(hypotheses), references=list(references))
            results[name] = Figure(**measured, unit=METRICS[name].unit)
    return {name: results[name] for name in names if name in results}


def left_out(references: Sequence[str], names: Sequence[MetricName]) -> dict[MetricName, Figure]:
    """Return those of the figures `names` that the references leave undefined, whatever a model answers."""
    return {name: Figure(None, unit=METRICS[name].unit, reason=reason) for name, reason in undefined(references, names).items()}
