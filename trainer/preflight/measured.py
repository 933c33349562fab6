"""Refuses metrics that cannot be measured: the job's rules know the task alone, not the kind of its model and not its rows.

Test: tests/trainer/preflight/test_measured.py.
"""

from collections.abc import Iterator
from typing import Any

from finetune.api.errors import InputError
from finetune.api.evaluation import Generation
from finetune.api.metrics import METRICS, MetricName, Needs
from finetune.api.tasks import Route, in_words
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset
from trainer.evaluation.metrics.registry import undefined
from trainer.evaluation.turns import in_turns
from trainer.tasks.base import Task


def refuse_unmeasured(config: TrainConfig, route: Route) -> None:
    """Raise InputError for a metric that the task does not have with this kind of model."""
    for field, metric in _named(config):
        if metric not in route.metrics:
            problem = f"{metric} is not measured of task {config.task.value} with this model, which is of the kind {route.family.value}"
            raise InputError(field, problem, f"this kind has {in_words(route.metrics)}; name one of them")


def refuse_undefined(task: Task[Any], dataset: Dataset, tokenizer: Any, config: TrainConfig) -> None:
    """Raise InputError where the metric that chooses the weights or stops early is undefined on the validation rows' references."""
    steering = {field: metric for field, metric in _named(config) if field != "evaluation.metrics"}
    generated = {field: metric for field, metric in steering.items() if METRICS[metric].needs is Needs.GENERATED_TEXT}
    if not generated or not dataset.validation:
        return
    chosen = in_turns(dataset.validation, (config.evaluation.generation or Generation()).samples)
    asked = [task.request(example, tokenizer) for example in chosen]
    reasons = undefined([request.references for request in asked if request is not None], tuple(generated.values()))
    for field, metric in generated.items():
        if metric in reasons:
            raise InputError(field, f"{metric} is undefined on the validation rows: {reasons[metric]}", "name another metric")


def _named(config: TrainConfig) -> Iterator[tuple[str, MetricName]]:
    """Yield the metrics that a job names, each with its field."""
    yield from (("evaluation.metrics", metric) for metric in config.evaluation.metrics or ())
    if config.evaluation.best_metric is not None:
        yield "evaluation.bestMetric", config.evaluation.best_metric
    stopping = config.regularization.early_stopping
    if stopping is not None and stopping.metric is not None:
        yield "regularization.earlyStopping.metric", stopping.metric
