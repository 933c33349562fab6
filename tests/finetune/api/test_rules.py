"""Rules of a whole spec that depend on the task refuse what the task cannot be measured by."""

from types import SimpleNamespace
from typing import Any

import pytest

from finetune.api.metrics import MetricName
from finetune.api.rules import TASK_RULES
from finetune.api.tasks import TASKS, TaskFacts


def refusals(
    task: str, *, listed: list[MetricName] | None = None, watched: MetricName | None = None, best: MetricName | None = None
) -> list[str]:
    spec: Any = SimpleNamespace(
        task=task,
        evaluation=None if listed is best is None else SimpleNamespace(metrics=listed, best_metric=best),
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
@pytest.mark.parametrize(("role", "field"), [("watched", "regularization.earlyStopping.metric"), ("best", "evaluation.bestMetric")])
def test_any_metric_of_the_task_may_steer_training_and_no_other(role: str, field: str, facts: TaskFacts) -> None:
    assert all(refusals(facts.name, **{role: metric}) == [] for metric in facts.metrics)
    for metric in set(MetricName) - set(facts.metrics):
        [message] = refusals(facts.name, **{role: metric})
        assert message.startswith(f"{field}: ")
        assert all(name in message for name in facts.metrics)
