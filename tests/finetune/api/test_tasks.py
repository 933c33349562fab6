"""The table of tasks is complete and names what exists."""

import pytest

from finetune.api.metrics import METRICS, MetricName, Needs, metrics_needing
from finetune.api.sections import Evaluation
from finetune.api.sources import Columns
from finetune.api.tasks import METRICS_OF_TASKS, TASKS, TaskFacts, TaskName, in_words, per_task, tasks_reading


def test_every_task_has_facts() -> None:
    assert list(TASKS) == list(TaskName)
    assert all(facts.name is name for name, facts in TASKS.items())


@pytest.mark.parametrize("facts", TASKS.values(), ids=TASKS)
def test_a_task_reads_columns_that_there_are(facts: TaskFacts) -> None:
    assert set(facts.columns) <= set(Columns.model_fields)
    assert all(facts.name in tasks_reading(column) for column in facts.columns)


@pytest.mark.parametrize("facts", TASKS.values(), ids=TASKS)
def test_the_score_of_a_task_is_measured_at_every_validation(facts: TaskFacts) -> None:
    assert facts.score in facts.validated
    assert set(facts.validated) <= set(facts.metrics) <= set(METRICS_OF_TASKS)


def test_what_only_training_measures_is_no_metric_of_a_task() -> None:
    assert all(METRICS[name].needs is not Needs.TRAINING for name in METRICS_OF_TASKS)


@pytest.mark.parametrize(
    ("listed", "measured"),
    [
        pytest.param(None, set(metrics_needing(Needs.GENERATED_TEXT)), id="all by default"),
        pytest.param(["chrf"], {"chrf"}, id="one of them"),
        pytest.param(["perplexity"], set(), id="none"),
    ],
)
def test_what_costs_no_generation_is_always_measured(listed: list[str] | None, measured: set[MetricName]) -> None:
    evaluation = Evaluation.model_validate({"metrics": listed})
    assert set(evaluation.text_metrics_of(TaskName.CHAT)) == measured
    assert set(evaluation.metrics_of(TaskName.CHAT)) == measured | {"perplexity", "bitsPerByte"}
    assert evaluation.text_metrics_of(TaskName.LANGUAGE_MODELING) == ()
    assert evaluation.metrics_of(TaskName.LANGUAGE_MODELING) == (MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE)


def test_what_is_so_of_which_task_is_said_once() -> None:
    assert per_task(lambda facts: "the same") == f"the same for {in_words(TASKS)}"
    assert per_task(lambda facts: facts.row).startswith("prompt and completion, or messages for chat; text for language-modeling")
    assert in_words(["a"]) == "a"
    assert in_words(["a", "b", "c"], "or") == "a, b or c"
