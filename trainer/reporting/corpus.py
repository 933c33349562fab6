"""What a job's report says of the corpus that was learned before its task, from the report of the run that learned it; and in words.

Pure. Test: tests/trainer/reporting/test_corpus.py.
"""

import math
from collections.abc import Mapping
from typing import Any

from finetune.api.adaptation import CORPUS
from finetune.api.metrics import MetricName

KEPT = ("texts", "rows", "before", "beforeInterval", "after", "interval", "verdict")
TAKEN = ("generalIncreasePercent", "generalIncreaseInterval", "budgetPercent", "withinBudget")


def corpus_to_wire(report: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """Return the entry; `report` is that of the run that learned the corpus, `uri` says where it is."""
    adapted = report.get("domainAdaptation") or {}
    sides = {key: _side(side) for key, side in adapted.items() if isinstance(side, Mapping) and key.endswith("erplexity")}
    if not any(key.startswith("domain") for key in sides):
        sides |= _of_test_rows(report)
    training, data = report.get("training", {}), report.get("data", {})
    return {
        "report": uri,
        "texts": data.get("train"),
        "steps": training.get("steps"),
        "seconds": (report.get("timings") or {}).get("seconds"),
        "measuredStep": report.get("measuredStep"),
        **sides,
        **{name: adapted[name] for name in TAKEN if adapted.get(name) is not None},
    }


def corpus_lines(adapted: Mapping[str, Any] | None) -> list[str]:
    """Return what a terminal says of a corpus that was learned before the task; nothing where none was."""
    corpus = (adapted or {}).get("corpus")
    if corpus is None:
        return []
    lines = [
        f"Before the task {corpus['steps']} steps on {corpus['texts']:,} texts of the domain were learned; base is the model before that."
    ]
    for key, side in corpus.items():
        if key.endswith("erplexity"):
            kind = "pseudo-perplexity" if "Pseudo" in key else "perplexity"
            before, after = (_number(side.get(name)) for name in ("before", "after"))
            lines.append(f"  {kind} of {'general' if key.startswith('general') else 'domain'} texts {before} before, {after} after")
    return lines


def _side(side: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of the figures of plain texts. What that run calls its test rows are texts of the corpus."""
    found = {name: side[name] for name in KEPT if side.get(name) is not None}
    return found | ({"texts": CORPUS} if found.get("texts") == "data.test" else {})


def _of_test_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return how likely the texts that were held out are: of an encoder exp of its masked loss, which is named so."""
    names = {MetricName.PERPLEXITY: "domainPerplexity", MetricName.MASKED_LOSS: "domainPseudoPerplexity"}
    for metric, key in names.items():
        base, tuned = ((report.get(model) or {}).get(metric) for model in ("baseline", "final"))
        if base is not None and tuned is not None and None not in (base["value"], tuned["value"]):
            likelihood = (lambda value: value) if metric is MetricName.PERPLEXITY else math.exp
            verdict = (report.get("change") or {}).get(metric, {}).get("verdict")
            figures = {
                "before": base["value"],
                "beforeInterval": base.get("interval"),
                "after": tuned["value"],
                "interval": tuned.get("interval"),
            }
            found = {
                name: [likelihood(end) for end in value] if isinstance(value, list) else likelihood(value)
                for name, value in figures.items()
                if value is not None
            }
            return {key: {"texts": CORPUS, "rows": tuned["rows"], **found, **({"verdict": verdict} if verdict else {})}}
    return {}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
