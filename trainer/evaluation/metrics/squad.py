"""Answers compared as SQuAD's official scripts do: without case, punctuation and articles; exact match, and F1 of shared words.

Two metrics of spans, by version 2's rules, where a question may have no answer, and one of generated text.
The rules: https://worksheets.codalab.org/rest/bundles/0x6b567e1cf2e041ec80d7098f031c5c9e/contents/blob/ (evaluate-v2.0.py;
Rajpurkar et al. 2018, arXiv:1806.03822). Pure. Test: tests/trainer/evaluation/metrics/test_squad.py.
"""

import re
import string
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Metric, Statistics, ratio
from trainer.evaluation.metrics.corpus import References, TextMetric, without_words
from trainer.evaluation.metrics.evidence import Answers, Floats

ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
SIGNATURE = "squad:2.0|case:lower|punct:removed|articles:removed|refs:best"


def normalized(text: str) -> str:
    """Return a text as it is compared."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def exact(reference: str, answer: str) -> float:
    """Return 1 for equal normalized texts, else 0."""
    return float(normalized(reference) == normalized(answer))


def token_f1(reference: str, answer: str) -> float:
    """Return the harmonic mean of the shares of common words; where a text has none, 1 if neither has and else 0."""
    right, given = normalized(reference).split(), normalized(answer).split()
    common = sum((Counter(right) & Counter(given)).values())
    if not right or not given:
        return float(right == given)
    return 2 * common / (len(right) + len(given))


def right_answers(references: tuple[str, ...]) -> tuple[str, ...]:
    """Return the references that count: those with words, and where there are none, that there is no answer."""
    return tuple(text for text in references if normalized(text)) or ("",)


class SpanMetric(Metric[Answers]):
    """A score of each answer, best over its references; the figure is its mean in percent, and of each kind of question beside it."""

    @abstractmethod
    def score(self, reference: str, answer: str) -> float:
        """Return the score of an answer, 0 to 1."""

    def statistics(self, evidence: Answers) -> Statistics:
        """Return score and 1 of each row: in two columns for a question with an answer, in the next two for one without."""
        found = np.zeros((len(evidence), 4))
        for line, row in zip(found, evidence.predictions, strict=True):
            right = right_answers(row.references)
            column = 0 if right != ("",) else 2
            line[column : column + 2] = max(self.score(text, row.answer) for text in right), 1
        return Statistics(found, SIGNATURE)

    def value(self, sums: Floats) -> Floats:
        """Return the mean over all questions."""
        return 100 * ratio(sums[..., 0] + sums[..., 2], sums[..., 1] + sums[..., 3])

    def details(self, sums: Floats, evidence: Answers) -> Mapping[str, Any]:
        """Return the mean of each kind of question, if there are both."""
        if not sums[1] or not sums[3]:
            return {}
        kinds = (("hasAnswer", sums[:2]), ("noAnswer", sums[2:]))
        return {name: {"value": 100 * float(score / count), "rows": int(count)} for name, (score, count) in kinds}


class SquadExactMatch(SpanMetric):
    """Share of answers that are a reference, in percent."""

    facts = FACTS[MetricName.SQUAD_EXACT_MATCH]

    def score(self, reference: str, answer: str) -> float:
        """Return whether they are equal."""
        return exact(reference, answer)


class SquadF1(SpanMetric):
    """Mean F1 of the words of answer and reference, in percent."""

    facts = FACTS[MetricName.SQUAD_F1]

    def score(self, reference: str, answer: str) -> float:
        """Return F1."""
        return token_f1(reference, answer)


class TokenF1(TextMetric):
    """Mean F1 of the words of generated answers and references, in percent; best over a row's references."""

    facts = FACTS[MetricName.TOKEN_F1]
    splits_words = True

    def unfit(self, references: References) -> str | None:
        """Undefined unless the references have words separated by spaces."""
        return without_words(references)

    def statistics(self, evidence: Answers) -> Statistics:
        """Return F1 and 1 of each row."""
        scores = [max(token_f1(text, row.answer) for text in row.references) for row in evidence.predictions]
        return Statistics(np.stack([scores, np.ones(len(scores))], axis=1), "case:lower|punct:removed|articles:removed|refs:best|mean:rows")

    def value(self, sums: Floats) -> Floats:
        """Return the mean."""
        return 100 * ratio(sums[..., 0], sums[..., 1])


METRICS = (SquadExactMatch(), SquadF1(), TokenF1())
