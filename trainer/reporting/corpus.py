"""What a job's report says of the corpus that was learned before its task, from the report of the run that learned it; and in words.

The figures of texts are those of that run, in the places that they have in any report. Pure. Test: tests/trainer/reporting/test_corpus.py.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from finetune.api.adaptation import CORPUS
from finetune.api.metrics import MetricName
from trainer.evaluation.drift import exp_of
from trainer.reporting.adaptation import finite
from trainer.reporting.guessing import guesses

EMPTY: dict[str, Any] = {
    "budgetPercent": None, "withinBudget": None, "chosenStep": None, "exceededAtStep": None, "shift": None, "sweep": [], "replay": None,
}  # fmt: skip
"""What a report says of domain adaptation without texts to measure."""
NAMED = {"texts", "curveTexts", "domainTexts"}
"""Keys whose values are names of data sets."""


def adapted_before(report: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """Return the job's domainAdaptation; `report` is that of the run that learned the corpus, `uri` says where it is."""
    training, timings = report.get("training") or {}, report.get("timings") or {}
    learned = {
        "report": uri,
        "texts": (report.get("data") or {}).get("train"),
        "steps": training.get("steps"),
        "totalSteps": training.get("totalSteps"),
        "seconds": timings.get("seconds"),
        "measuredStep": report.get("measuredStep"),
        "baseIsGuessing": guesses(report),
    }
    adapted = report.get("domainAdaptation") or EMPTY | {"chosenStep": report.get("measuredStep")}
    held_out = {} if any(key.startswith("domain") for key in adapted) else _of_test_rows(report)
    found: dict[str, Any] = _in_names_of_the_job({**held_out, **adapted})
    return found | {"corpus": learned}


def corpus_lines(adapted: Mapping[str, Any] | None) -> list[str]:
    """Return what a terminal says of a corpus that was learned before the task; nothing where none was."""
    corpus = (adapted or {}).get("corpus")
    if corpus is None:
        return []
    counts = ((corpus.get("steps"), "{:,} steps"), (corpus.get("texts"), "on {:,} texts"))
    stage = " ".join(words.format(count) for count, words in counts if count is not None)
    lines = [f"Domain stage: {stage or 'its report is missing'}. The base figures are from before this stage."]
    if any(key.endswith("erplexity") for key in adapted or {}):
        lines.append("General and domain texts are measured before and after this stage, not after the task.")
    return lines


def _in_names_of_the_job(found: Any) -> Any:
    """Return an entry in which what that run calls its training, validation and test rows are texts of the corpus."""
    if not isinstance(found, Mapping):
        return found
    return {key: CORPUS if key in NAMED and str(value).startswith("data.") else _in_names_of_the_job(value) for key, value in found.items()}


def _of_test_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return how likely the texts that were held out are: of an encoder exp of its masked loss, which is named so."""
    names = {MetricName.PERPLEXITY: "domainPerplexity", MetricName.MASKED_LOSS: "domainPseudoPerplexity"}
    for metric, key in names.items():
        base, tuned = ((report.get(model) or {}).get(metric) for model in ("baseline", "final"))
        if base is not None and tuned is not None and None not in (base["value"], tuned["value"]):
            return {key: _held_out(report, metric, base, tuned)}
    return {}


def _held_out(report: Mapping[str, Any], metric: MetricName, base: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
    likelihood: Callable[[float], float] = exp_of if metric is MetricName.MASKED_LOSS else float

    def likely(interval: list[float] | None) -> list[float] | None:
        ends = [likelihood(end) for end in interval or ()]
        return ends if ends and all(map(math.isfinite, ends)) else None

    guessing = guesses(report)
    verdict = (report.get("change") or {}).get(metric, {}).get("verdict")
    # The mean loss of validation rows, of which both figures are exp.
    points = (report.get("generalization") or {}).get("curve") or ()
    curve = [{"step": point["step"], "value": finite(exp_of(point["validationLoss"]))} for point in points]
    return {
        "texts": "data.test",
        "rows": tuned.get("rows"),
        "before": finite(likelihood(base["value"])),
        "beforeInterval": likely(base.get("interval")),
        "beforeIsGuessing": guessing,
        "after": finite(likelihood(tuned["value"])),
        "interval": likely(tuned.get("interval")),
        "verdict": None if guessing else verdict,
        "curve": curve,
        "curveTexts": "data.validation" if curve else None,
    }
