"""Whether a base model only guesses how likely texts are, so that its likelihoods are no measure of what was learned or forgotten.

Pure. Test: tests/trainer/reporting/test_guessing.py.
"""

from collections.abc import Mapping
from typing import Any

from finetune.api.metrics import MetricName
from finetune.api.sources import Initialization

LIKELIHOODS = frozenset({MetricName.PERPLEXITY, MetricName.MASKED_LOSS, MetricName.BITS_PER_BYTE})


def guesses(report: Mapping[str, Any]) -> bool:
    """Return whether a job's base model began with a new head or with random weights; a report may be partial.

    Where a corpus was learned, the base is the model before that.
    """
    model, corpus = report.get("model") or {}, (report.get("domainAdaptation") or {}).get("corpus") or {}
    return bool(model.get("headIsNew") or corpus.get("baseIsGuessing")) or model.get("initialization") == Initialization.RANDOM
