"""What a model can learn to do, as a table of facts: the columns that a task reads, which models can do it, how each is measured.

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
    TEXT_GENERATION = "text-generation"
    LANGUAGE_MODELING = "language-modeling"
    TRANSLATION = "translation"
    TRANSCRIPT_CORRECTION = "transcript-correction"
    QUESTION_ANSWERING = "question-answering"
    TEXT_CLASSIFICATION = "text-classification"


class ModelFamily(StrEnum):
    """Kinds of models, by what they are given and what they predict. How each is loaded is in trainer/objectives/family.py."""

    CAUSAL = "causal"
    """The next token, from those before it."""
    SEQ2SEQ = "encoder-decoder"
    """The next token of an answer, from a text that is read as a whole and the answer's tokens before it."""
    ENCODER = "encoder"
    """Something about a text that is read as a whole: its class, a part of it, its masked tokens."""


@dataclass(frozen=True)
class Route:
    """How one kind of model learns a task."""

    family: ModelFamily
    measured_from: tuple[Needs, ...]
    """What held-out rows give to compute metrics from."""
    score: MetricName
    """What the best checkpoint is chosen by and the printer column shows; early stopping watches it unless the job names another."""
    of_answers: tuple[MetricName, ...] = ()
    """Of what is measured of generated text, that which a job has that lists no metrics."""

    @property
    def by_default(self) -> tuple[MetricName, ...]:
        """What is measured of test rows for a job that lists no metrics, in the order of the table."""
        return tuple(name for name in self.metrics if name in self.validated or name in self.of_answers)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """All that can be measured, in the order of the table."""
        return metrics_needing(*self.measured_from)

    @property
    def generates(self) -> bool:
        """Whether some of its metrics compare generated answers."""
        return Needs.GENERATED_TEXT in self.measured_from

    @property
    def validated(self) -> tuple[MetricName, ...]:
        """What every measurement has, during training too: all but what has to be generated."""
        return tuple(name for name in self.metrics if METRICS[name].needs is not Needs.GENERATED_TEXT)


@dataclass(frozen=True)
class TaskFacts:
    """The facts about a task that need no rows."""

    name: TaskName
    description: str
    columns: tuple[str, ...]
    """Members of `columns` (Python names) that have a meaning for it."""
    row: str
    """Those that a row must have, in words."""
    routes: tuple[Route, ...]
    """Kinds of models that can learn it, each with what is measured of it."""
    beside: tuple[str, ...] = ()
    """Columns that a question to a model needs beside the first."""
    translates: bool = False
    """Whether its sources may say in which languages they are."""
    unchanged: bool = False
    """Whether what a row gives is an answer already, which a model has to improve: its figures are shown beside those of the models."""

    @property
    def families(self) -> tuple[ModelFamily, ...]:
        """Kinds of models that can learn it."""
        return tuple(route.family for route in self.routes)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """All that can be measured of it, with one kind of model or another, in the order of the table."""
        return measured_of_any(route.metrics for route in self.routes)

    @property
    def by_default(self) -> tuple[MetricName, ...]:
        """What is measured for a job that lists no metrics, with one kind of model or another."""
        return measured_of_any(route.by_default for route in self.routes)

    @property
    def validated(self) -> tuple[MetricName, ...]:
        """What is measured during training, with one kind of model or another."""
        return measured_of_any(route.validated for route in self.routes)

    def on(self, family: ModelFamily) -> Route:
        """Return how a kind of model learns it; KeyError for one that cannot."""
        return {route.family: route for route in self.routes}[family]


def _answers(family: ModelFamily, *judged_by: MetricName) -> Route:
    """Return how a kind of model learns to write answers, of which a job measures these figures unless it lists others."""
    return Route(family, (Needs.TOKEN_SUMS, Needs.GENERATED_TEXT), MetricName.PERPLEXITY, judged_by)


def _written(*judged_by: MetricName) -> tuple[Route, Route]:
    """Return how the kinds of models that write answers learn to."""
    return _answers(ModelFamily.CAUSAL, *judged_by), _answers(ModelFamily.SEQ2SEQ, *judged_by)


TASKS: Mapping[TaskName, TaskFacts] = {
    facts.name: facts
    for facts in (
        TaskFacts(
            TaskName.CHAT,
            "answer the last message of a conversation; only answers have loss",
            columns=("prompt", "completion", "system", "messages"),
            row="prompt and completion, or messages",
            routes=(_answers(ModelFamily.CAUSAL, MetricName.EXACT_MATCH, MetricName.BLEU, MetricName.CHRF, MetricName.WER),),
        ),
        TaskFacts(
            TaskName.TEXT_GENERATION,
            "continue a prompt as it is written, without a chat template; only the completion has loss",
            columns=("prompt", "completion"),
            row="prompt and completion",
            routes=_written(MetricName.CHRF, MetricName.ROUGE_L, MetricName.DISTINCT_2, MetricName.UNFINISHED),
        ),
        TaskFacts(
            TaskName.LANGUAGE_MODELING,
            "continue plain text; every token has loss. An encoder names hidden tokens of it",
            columns=("text",),
            row="text",
            routes=(
                Route(ModelFamily.CAUSAL, (Needs.TOKEN_SUMS,), MetricName.PERPLEXITY),
                Route(ModelFamily.ENCODER, (Needs.MASKED_SUMS,), MetricName.MASKED_LOSS),
            ),
        ),
        TaskFacts(
            TaskName.TRANSLATION,
            "say a text in another language; only the translation has loss",
            columns=("source", "target"),
            row="source and target",
            routes=_written(MetricName.BLEU, MetricName.CHRF),
            translates=True,
        ),
        TaskFacts(
            TaskName.TRANSCRIPT_CORRECTION,
            "write what was said, given what a speech recognizer wrote",
            columns=("hypothesis", "reference"),
            row="hypothesis and reference",
            routes=_written(MetricName.WER, MetricName.CER),
            unchanged=True,
        ),
        TaskFacts(
            TaskName.QUESTION_ANSWERING,
            "answer a question from a given text: an encoder finds the answer in it, other models write it",
            columns=("question", "context", "answers"),
            row="question, context and answers",
            beside=("context",),
            routes=(
                *_written(MetricName.EXACT_MATCH, MetricName.TOKEN_F1),
                Route(ModelFamily.ENCODER, (Needs.SPANS,), MetricName.SQUAD_F1),
            ),
        ),
        TaskFacts(
            TaskName.TEXT_CLASSIFICATION,
            "say which class a text belongs to, such as its sentiment, or which of several labels it has",
            columns=("text", "label"),
            row="text and label",
            routes=(
                Route(ModelFamily.ENCODER, (Needs.CLASSES,), MetricName.ACCURACY),
                *_written(MetricName.EXACT_MATCH),
            ),
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


def scores(facts: TaskFacts) -> str:
    """Return the metric that a task is judged by, in words; with the kind of model where it depends on that."""
    found: dict[MetricName, list[ModelFamily]] = {}
    for route in facts.routes:
        found.setdefault(route.score, []).append(route.family)
    return in_words(found if len(found) == 1 else [f"{score} ({in_words(families)} models)" for score, families in found.items()])


def in_words(names: Iterable[str], last: str = "and") -> str:
    """Return names as a list in a sentence: a, b and c."""
    *others, final = names
    return f"{', '.join(others)} {last} {final}" if others else final
