"""BLEU and chrF, computed by sacrebleu: the n-grams of words or characters that answers share with references.

sacrebleu is imported when a figure is computed. Test: tests/trainer/evaluation/metrics/test_ngrams.py.
"""

from collections.abc import Sequence

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.corpus import TextMetric
from trainer.evaluation.metrics.references import BLEU_ORDER, long_enough, writing_of

LEAST_LONG_SHARE = 0.1
"""With a smaller share of references that have 4-grams, BLEU would depend on so few rows that it is undefined."""
FEW_LONG_SHARE = 0.5
"""With a smaller share, a finding says that BLEU depends on only part of the rows."""


class CorpusBleu(TextMetric):
    """Corpus BLEU, 0 to 100 (Papineni et al. 2002; Post 2018, arXiv:1804.08771); the references' script decides the tokenization."""

    facts = FACTS[MetricName.BLEU]
    splits_words = True

    def undefined(self, references: Sequence[str]) -> str | None:
        """Undefined if too few references have 4-grams: BLEU is a mean of the precisions of 1- to 4-grams."""
        enough = long_enough(references, writing_of(references).tokenization)
        if enough and enough >= LEAST_LONG_SHARE * len(references):
            return None
        return f"{enough} of {len(references)} references have the {BLEU_ORDER} tokens that BLEU needs"

    def doubt(self, references: Sequence[str]) -> str | None:
        """Return a caveat if fewer than half of the references have 4-grams."""
        enough, total = long_enough(references, writing_of(references).tokenization), len(references)
        if enough >= FEW_LONG_SHARE * total:
            return None
        share = f"{enough} of {total} references ({100 * enough / total:.3g} %)"
        return f"only {share} have the {BLEU_ORDER} tokens that BLEU needs; bleu says little about the others, chrf more"

    def measure(self, answers: Sequence[str], references: Sequence[str]) -> Figure:
        """Run sacrebleu."""
        from sacrebleu.metrics import BLEU

        metric = BLEU(tokenize=writing_of(references).tokenization)
        score = metric.corpus_score(list(answers), [list(references)])
        # If answers share words with the references but have no 4-gram at all, the precision of 4-grams is 0 of 0.
        if score.counts[0] and not score.totals[-1]:
            return Figure(None, str(metric.get_signature()), reason=f"no answer has the {BLEU_ORDER} tokens that BLEU needs")
        return Figure(float(score.score), str(metric.get_signature()))


class CorpusChrf(TextMetric):
    """Corpus chrF2, 0 to 100 (Popovic 2015, W15-3049)."""

    facts = FACTS[MetricName.CHRF]

    def undefined(self, references: Sequence[str]) -> str | None:
        """Undefined if all references are empty: chrF counts their characters."""
        return None if any(reference.strip() for reference in references) else "the references are empty"

    def measure(self, answers: Sequence[str], references: Sequence[str]) -> Figure:
        """Run sacrebleu."""
        from sacrebleu.metrics import CHRF

        metric = CHRF()
        score = metric.corpus_score(list(answers), [list(references)])
        return Figure(float(score.score), str(metric.get_signature()))


METRICS = (CorpusBleu(), CorpusChrf())
