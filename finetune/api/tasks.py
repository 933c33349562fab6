"""What a model can learn to do, as a table of facts: the columns that a task reads, how it is measured, which models can do it.

CEL rules, field descriptions and error messages come from this table. What a task does with its rows is in trainer/tasks, one
file a task. Needs pydantic only. Test: tests/finetune/api/test_tasks.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from finetune.api.metrics import METRICS, MetricName, Needs, metrics_needing


class TaskName(StrEnum):
    """Names of the tasks, as they are in job files."""

    CHAT = "chat"
    LANGUAGE_MODELING = "language-modeling"


class ModelFamily(StrEnum):
    """Kinds of models, by what they are given and what they predict. How each is loaded is in trainer/objectives/family.py."""

    CAUSAL = "causal"
    """The next token, from those before it."""


@dataclass(frozen=True)
class TaskFacts:
    """The facts about a task that need no rows."""

    name: TaskName
    description: str
    columns: tuple[str, ...]
    """Members of `columns` (Python names) that have a meaning for it."""
    row: str
    """Those that a row must have, in words."""
    measured_from: tuple[Needs, ...]
    """What its held-out rows give to compute metrics from."""
    score: MetricName
    """What the best checkpoint is chosen by and the printer column shows; early stopping watches it unless the job names another."""
    families: tuple[ModelFamily, ...]
    """Kinds of models that can learn it; its objective is of one of them."""

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """All that can be measured of it, in the order of the table."""
        return metrics_needing(*self.measured_from)

    @property
    def generates(self) -> bool:
        """Whether some of its metrics compare generated answers."""
        return Needs.GENERATED_TEXT in self.measured_from

    @property
    def validated(self) -> tuple[MetricName, ...]:
        """What every measurement has, during training too: all but what has to be generated."""
        return tuple(name for name in self.metrics if METRICS[name].needs is not Needs.GENERATED_TEXT)


TASKS: Mapping[TaskName, TaskFacts] = {
    facts.name: facts
    for facts in (
        TaskFacts(
            TaskName.CHAT,
            "answer the last message of a conversation; only answers have loss",
            columns=("prompt", "completion", "system", "messages"),
            row="prompt and completion, or messages",
            measured_from=(Needs.TOKEN_SUMS, Needs.GENERATED_TEXT),
            score=MetricName.PERPLEXITY,
            families=(ModelFamily.CAUSAL,),
        ),
        TaskFacts(
            TaskName.LANGUAGE_MODELING,
            "continue plain text; every token has loss",
            columns=("text",),
            row="text",
            measured_from=(Needs.TOKEN_SUMS,),
            score=MetricName.PERPLEXITY,
            families=(ModelFamily.CAUSAL,),
        ),
    )
}


def tasks_reading(column: str) -> tuple[TaskName, ...]:
    """Return the tasks for which a member of `columns` has a meaning."""
    return tuple(name for name, facts in TASKS.items() if column in facts.columns)


def measured_of_any(names: Iterable[tuple[MetricName, ...]]) -> tuple[MetricName, ...]:
    """Return the union of the tasks' lists, in the order of the metrics' table."""
    found = {metric for listed in names for metric in listed}
    return tuple(name for name in METRICS if name in found)


METRICS_OF_TASKS = measured_of_any(facts.metrics for facts in TASKS.values())
"""What evaluation.metrics may list, for one task or another."""
VALIDATED_METRICS = measured_of_any(facts.validated for facts in TASKS.values())
"""What early stopping may watch, for one task or another."""


def per_task(words: Callable[[TaskFacts], str]) -> str:
    """Return a fact of every task in words, equal ones together: a for chat; b for language-modeling."""
    tasks: dict[str, list[str]] = {}
    for name, facts in TASKS.items():
        tasks.setdefault(words(facts), []).append(name)
    return "; ".join(f"{said} for {in_words(names)}" for said, names in tasks.items())


def in_words(names: Iterable[str], last: str = "and") -> str:
    """Return names as a list in a sentence: a, b and c."""
    *others, final = names
    return f"{', '.join(others)} {last} {final}" if others else final
