"""The table of tasks is complete and names what exists."""

from typing import Any

import pytest

from finetune.api.columns import Columns
from finetune.api.metrics import METRICS, MetricName, Needs
from finetune.api.tasks import METRICS_OF_TASKS, TASKS, ModelFamily, Route, TaskFacts, TaskName, in_words, per_task, tasks_reading
from tests.builders import train_config

CHAT, TEXTS = (TASKS[name].on(ModelFamily.CAUSAL) for name in (TaskName.CHAT, TaskName.LANGUAGE_MODELING))


def test_every_task_has_facts() -> None:
    assert list(TASKS) == list(TaskName)
    assert all(facts.name is name for name, facts in TASKS.items())


@pytest.mark.parametrize("facts", TASKS.values(), ids=TASKS)
def test_a_task_reads_columns_that_there_are(facts: TaskFacts) -> None:
    assert set(facts.columns) <= set(Columns.model_fields)
    assert all(facts.name in tasks_reading(column) for column in facts.columns)


@pytest.mark.parametrize("facts", TASKS.values(), ids=TASKS)
def test_the_score_of_a_task_is_measured_at_every_validation(facts: TaskFacts) -> None:
    assert facts.routes
    assert len(set(facts.families)) == len(facts.routes)
    for route in facts.routes:
        assert facts.on(route.family) is route
        assert route.score in route.validated
        assert set(route.validated) <= set(route.metrics) <= set(facts.metrics) <= set(METRICS_OF_TASKS)


def test_what_only_training_measures_is_no_metric_of_a_task() -> None:
    assert all(METRICS[name].needs is not Needs.TRAINING for name in METRICS_OF_TASKS)


@pytest.mark.parametrize(
    ("listed", "measured"),
    [
        pytest.param(None, {"exactMatch", "bleu", "chrf", "wer"}, id="those of the task by default"),
        pytest.param(["chrf"], {"chrf"}, id="one of them"),
        pytest.param(["perplexity"], set(), id="none"),
    ],
)
def test_what_costs_no_generation_is_always_measured(listed: list[str] | None, measured: set[MetricName]) -> None:
    config = train_config(**({"evaluation": {"metrics": listed}} if listed else {}))
    assert set(config.text_metrics(CHAT)) == measured
    assert set(config.test_metrics(CHAT)) == measured | {"perplexity", "bitsPerByte"}
    assert config.text_metrics(TEXTS) == ()
    assert config.test_metrics(TEXTS) == (
        MetricName.PERPLEXITY,
        MetricName.BITS_PER_BYTE,
    )


STOPPING = {"earlyStopping": {"metric": "chrf"}}


@pytest.mark.parametrize(
    ("sections", "judged", "validated", "tested"),
    [
        pytest.param({}, "perplexity", set(), set(), id="the task's score by default"),
        pytest.param({"regularization": STOPPING}, "chrf", {"chrf"}, {"chrf"}, id="what early stopping watches"),
        pytest.param({"evaluation": {"metrics": ["perplexity"], "bestMetric": "wer"}}, "wer", {"wer"}, {"wer"}, id="what the job names"),
        pytest.param(
            {"regularization": STOPPING, "evaluation": {"metrics": ["perplexity"], "bestMetric": "bitsPerByte"}},
            "bitsPerByte", {"chrf"}, set(), id="one to stop by and another to choose by",
        ),
    ],
)  # fmt: skip
def test_what_steers_training_is_measured_in_validation_and_on_the_test_rows(
    sections: dict[str, Any], judged: str, validated: set[str], tested: set[str]
) -> None:
    config, always = train_config(**({"evaluation": {"metrics": ["perplexity"]}} | sections)), {"perplexity", "bitsPerByte"}
    assert config.judged_by(CHAT) == judged
    assert set(config.validated_metrics(CHAT)) == always | validated
    assert set(config.test_metrics(CHAT)) == always | tested


def test_what_is_so_of_which_task_is_said_once() -> None:
    assert per_task(lambda facts: "the same") == f"the same for {in_words(TASKS)}"
    assert per_task(lambda facts: facts.row).startswith(
        "prompt and completion, or messages for chat; prompt and completion for text-generation; text for language-modeling"
    )
    assert in_words(["a"]) == "a"
    assert in_words(["a", "b", "c"], "or") == "a, b or c"


@pytest.mark.parametrize("route", [route for facts in TASKS.values() for route in facts.routes if route.generates])
def test_a_task_with_answers_measures_some_of_their_figures_by_default(route: Route) -> None:
    assert route.of_answers
    assert {METRICS[name].needs for name in route.of_answers} == {Needs.GENERATED_TEXT}
    assert set(route.by_default) == {*route.validated, *route.of_answers}
