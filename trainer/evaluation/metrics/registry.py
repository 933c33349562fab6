"""Finds the implementation of each metric in METRICS of the modules in this folder, so that a new file needs no registration.

A metric of finetune/api/metrics.py without an implementation here, or the other way round, fails
tests/trainer/evaluation/metrics/test_registry.py.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName, Needs
from trainer.evaluation import metrics
from trainer.evaluation.metrics.base import Figure, Metric
from trainer.evaluation.metrics.corpus import References, TextMetric
from trainer.evaluation.metrics.evidence import Evidence


@cache
def implementations() -> Mapping[MetricName, Metric[Any]]:
    """Return every metric that this folder implements.

    Raises RuntimeError if two files implement the same one, and TypeError for one of generated text that is no TextMetric.
    """
    found: dict[MetricName, Metric[Any]] = {}
    for module in pkgutil.iter_modules(metrics.__path__, f"{metrics.__name__}."):
        for metric in getattr(importlib.import_module(module.name), "METRICS", ()):
            if found.setdefault(metric.facts.name, metric) is not metric:
                raise RuntimeError(f"{module.name} implements {metric.facts.name}, which another file does too")
            if metric.facts.needs is Needs.GENERATED_TEXT and not isinstance(metric, TextMetric):
                raise TypeError(f"{module.name}: {metric.facts.name} compares generated text, so its class must be a TextMetric")
    return found


def compute(names: Sequence[MetricName], evidence: Mapping[Needs, Evidence]) -> dict[MetricName, Figure]:
    """Compute the metrics `names`, each from the kind of evidence that it needs; KeyError if `evidence` lacks that kind."""
    return {name: implementations()[name].compute(evidence[FACTS[name].needs]) for name in names}


def text_metric(name: MetricName) -> TextMetric:
    """Return the implementation of a metric of generated text; raises TypeError for any other metric."""
    metric = implementations()[name]
    if not isinstance(metric, TextMetric):
        raise TypeError(f"{name} does not compare texts")
    return metric


def undefined(references: References, names: Sequence[MetricName]) -> dict[MetricName, str]:
    """Return which of these metrics of generated text are undefined for the references, with the reasons."""
    return {name: reason for name in names if (reason := text_metric(name).reason_for(references)) is not None}


def left_out(references: References, names: Sequence[MetricName]) -> dict[MetricName, Figure]:
    """Return the figures of the undefined metrics, for which no answers need to be generated."""
    return {name: Figure(None, unit=FACTS[name].unit, reason=reason) for name, reason in undefined(references, names).items()}


def left_out_finding(metric: str, reason: str) -> str:
    """Return the warning about a metric that is undefined for `reason`, before training and after it."""
    return f"evaluation.metrics: {metric} is left out: {reason}"
