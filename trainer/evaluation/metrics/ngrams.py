"""BLEU and chrF, computed by sacrebleu: the n-grams of words or characters that answers share with references.

sacrebleu is imported when a figure is computed. Its statistics of a row are what its own bootstrap adds up (sacrebleu.significance).
Test: tests/trainer/evaluation/metrics/test_ngrams.py.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Statistics
from trainer.evaluation.metrics.corpus import References, TextMetric, flat
from trainer.evaluation.metrics.evidence import Answers, Floats
from trainer.evaluation.metrics.references import BLEU_ORDER, long_enough, writing_of

LEAST_LONG_SHARE = 0.1
"""With a smaller share of references that have 4-grams, BLEU would depend on so few rows that it is undefined."""
FEW_LONG_SHARE = 0.5
"""With a smaller share, a finding says that BLEU depends on only part of the rows."""
CORRECT, TOTAL = slice(2, 2 + BLEU_ORDER), slice(2 + BLEU_ORDER, 2 + 2 * BLEU_ORDER)
"""The columns of BLEU's statistics after the two lengths: n-grams of each order, those in a reference and all."""


class CorpusBleu(TextMetric):
    """Corpus BLEU, 0 to 100 (Papineni et al. 2002; Post 2018, arXiv:1804.08771); the references' script decides the tokenization.

    Each group, such as a pair of languages, has its own.
    """

    facts = FACTS[MetricName.BLEU]
    splits_words = True

    def unfit(self, references: References) -> str | None:
        """Undefined if too few references have 4-grams: BLEU is a mean of the precisions of 1- to 4-grams."""
        texts = flat(references)
        enough = long_enough(texts, writing_of(texts).tokenization)
        if enough and enough >= LEAST_LONG_SHARE * len(texts):
            return None
        return f"{enough} of {len(texts)} references have the {BLEU_ORDER} tokens that BLEU needs"

    def doubt(self, references: References) -> str | None:
        """Return a caveat if fewer than half of the references have 4-grams."""
        texts = flat(references)
        enough, total = long_enough(texts, writing_of(texts).tokenization), len(texts)
        if enough >= FEW_LONG_SHARE * total:
            return None
        share = f"{enough} of {total} references ({100 * enough / total:.3g} %)"
        return f"only {share} have the {BLEU_ORDER} tokens that BLEU needs; bleu says little about the others, chrf more"

    def statistics(self, evidence: Answers) -> Statistics:
        """Return sacrebleu's statistics of each row: two lengths, and n-grams of each order, correct ones and all."""
        from sacrebleu.metrics import BLEU

        found = np.zeros((len(evidence), TOTAL.stop))
        tokenizations = []
        for rows in evidence.group.parts().values() or [np.arange(len(evidence))]:
            part = [evidence.predictions[row] for row in rows.tolist()]
            tokenizations.append(writing_of(flat([row.references for row in part])).tokenization)
            found[rows] = _statistics(BLEU(tokenize=tokenizations[-1], force=True), part)
        whole = BLEU(tokenize=tokenizations[0], force=True)
        whole.num_refs = _number_of(evidence.references)
        signature = str(whole.get_signature()).replace(f"tok:{tokenizations[0]}", f"tok:{'+'.join(dict.fromkeys(tokenizations))}")
        return Statistics(found, signature)

    def value(self, sums: Floats) -> Floats:
        """Return what sacrebleu makes of each sum."""
        from sacrebleu.metrics import BLEU

        def score(row: Floats) -> float:
            # If answers share words with the references but have no 4-gram at all, the precision of 4-grams is 0 of 0.
            if row[CORRECT][0] and not row[TOTAL][-1]:
                return np.nan
            counted = [int(count) for count in row]
            return float(BLEU.compute_bleu(counted[CORRECT], counted[TOTAL], counted[0], counted[1], smooth_method="exp").score)

        return _each(score, sums)

    def undefined(self, sums: Floats) -> str:
        """Say that the answers are too short."""
        return f"no answer has the {BLEU_ORDER} tokens that BLEU needs"


class CorpusChrf(TextMetric):
    """Corpus chrF2, 0 to 100 (Popovic 2015, W15-3049)."""

    facts = FACTS[MetricName.CHRF]

    def unfit(self, references: References) -> str | None:
        """Undefined if all references are empty: chrF counts their characters."""
        return None if any(reference.strip() for reference in flat(references)) else "the references are empty"

    def statistics(self, evidence: Answers) -> Statistics:
        """Return sacrebleu's statistics of each row: n-grams of each order, of the answer, of its best reference, and shared."""
        from sacrebleu.metrics import CHRF

        metric = CHRF()
        found = _statistics(metric, evidence.predictions)
        return Statistics(found, str(metric.get_signature()))

    def value(self, sums: Floats) -> Floats:
        """Return what sacrebleu makes of each sum."""
        from sacrebleu.metrics import CHRF

        metric = CHRF()
        return _each(lambda row: float(metric._compute_score_from_stats(row.tolist()).score), sums)


def _statistics(metric: Any, rows: Sequence[Any]) -> Floats:
    """Return a sacrebleu metric's statistics of each row."""
    answers, streams = [row.answer for row in rows], streams_of([row.references for row in rows])
    return np.array(metric._extract_corpus_statistics(answers, streams), np.float64)


def streams_of(references: References) -> list[tuple[str | None, ...]]:
    """Return the references as sacrebleu takes them: the first of every row, the second of every row, and so on; None for none."""
    return list(zip_longest(*references))


def _number_of(references: References) -> int:
    """Return the number of references of a row, and -1 if it differs, as sacrebleu's signature has it."""
    numbers = {len(texts) for texts in references}
    return numbers.pop() if len(numbers) == 1 else -1


def _each(score: Any, sums: Floats) -> Floats:
    """Return the score of each of `sums` (..., k): (...)."""
    table = np.asarray(sums).reshape(-1, np.shape(sums)[-1])
    return np.array([score(row) for row in table], np.float64).reshape(np.shape(sums)[:-1])


METRICS = (CorpusBleu(), CorpusChrf())
