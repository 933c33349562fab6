"""Rules of a whole spec that depend on the task refuse what the task cannot be measured by."""

from types import SimpleNamespace
from typing import Any

import pytest

from finetune.api.metrics import MetricName
from finetune.api.rules import TASK_RULES
from finetune.api.tasks import TASKS, TaskFacts


def refusals(task: str, *, listed: list[MetricName] | None = None, watched: MetricName | None = None) -> list[str]:
    spec: Any = SimpleNamespace(
        task=task,
        evaluation=None if listed is None else SimpleNamespace(metrics=listed),
        regularization=None if watched is None else SimpleNamespace(early_stopping=SimpleNamespace(metric=watched)),
    )
    return [rule.message for rule in TASK_RULES if not rule.holds(spec)]


@pytest.mark.parametrize("facts", TASKS.values(), ids=TASKS)
def test_a_task_takes_its_own_metrics_and_no_others(facts: TaskFacts) -> None:
    assert refusals(facts.name) == []
    assert refusals(facts.name, listed=list(facts.metrics)) == []
    for metric in set(MetricName) - set(facts.metrics):
        assert [message.partition(":")[0] for message in refusals(facts.name, listed=[metric])] == ["evaluation.metrics"]


@pytest.mark.parametrize("facts", TASKS.values(), ids=TASKS)
def test_early_stopping_watches_what_validation_measures(facts: TaskFacts) -> None:
    assert all(refusals(facts.name, watched=metric) == [] for metric in facts.validated)
    for metric in set(MetricName) - set(facts.validated):
        [message] = refusals(facts.name, watched=metric)
        assert message.startswith("regularization.earlyStopping.metric: ")
        assert all(name in message for name in facts.validated)
