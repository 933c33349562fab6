"""Rules that span sections: they are at the whole spec. Those of one section are with its model.

What depends on the task is generated from the tables of tasks and metrics. Tests: tests/finetune/api/test_rules.py,
tests/integration/test_malformed_jobs.py.
"""

from collections.abc import Sequence
from typing import Any

from finetune.api.base import Rule
from finetune.api.metrics import MetricName
from finetune.api.sections import Export
from finetune.api.tasks import TASKS, TaskFacts, in_words

ADAPTER_NEEDS_LORA = Rule(
    "!has(self.output.export) || !self.output.export.exists(e, e == 'adapter') || has(self.method.lora)",
    lambda value: value.output.export is None or Export.ADAPTER not in value.output.export or value.method.lora is not None,
    "output.export: adapter needs method.lora; with method.full export merged",
)


def _metrics_of(facts: TaskFacts) -> Rule:
    def holds(spec: Any) -> bool:
        listed = spec.evaluation.metrics if spec.evaluation is not None else None
        return spec.task is not facts.name or set(listed or ()) <= set(facts.metrics)

    return Rule(
        f"self.task != '{facts.name}' || !has(self.evaluation) || !has(self.evaluation.metrics)"
        f" || self.evaluation.metrics.all(metric, metric in {_cel(facts.metrics)})",
        holds,
        f"evaluation.metrics: task {facts.name} has {in_words(facts.metrics)}; remove the others",
    )


def _watched_of(facts: TaskFacts) -> Rule:
    def holds(spec: Any) -> bool:
        stopping = spec.regularization.early_stopping if spec.regularization is not None else None
        return spec.task is not facts.name or stopping is None or stopping.metric in (None, *facts.validated)

    stopping = "self.regularization.earlyStopping"
    return Rule(
        f"self.task != '{facts.name}' || !has(self.regularization) || !has({stopping}) || !has({stopping}.metric)"
        f" || {stopping}.metric in {_cel(facts.validated)}",
        holds,
        f"regularization.earlyStopping.metric: validation of task {facts.name} measures {in_words(facts.validated)}; name one of them",
    )


def _cel(names: Sequence[MetricName]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


TASK_RULES = tuple(rule(facts) for facts in TASKS.values() for rule in (_metrics_of, _watched_of))
