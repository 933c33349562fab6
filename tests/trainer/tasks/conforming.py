"""What the tests of all tasks share: the examples of each task, and what of them is learned."""

from typing import Any

from finetune.api.tasks import ModelFamily
from tests.trainer.fixtures.stored import examples_of
from tests.trainer.tasks.samples import SAMPLES
from trainer.data.masking import text_of
from trainer.data.records import Record
from trainer.data.rows import Sample
from trainer.objectives.classification import ClassificationObjective
from trainer.objectives.masked import MaskedObjective
from trainer.tasks.base import Task
from trainer.text.questions import UNANSWERABLE

WHOLE = 1000


def read(task: Task[Any]) -> list[Any]:
    """Return the examples of the task's rows."""
    rows = SAMPLES[task.facts.name].rows
    return examples_of([Record(f"line {number}", row.values) for number, row in enumerate(rows, 1)], task=task)[0]


def writes(task: Task[Any]) -> bool:
    """Return whether the model's targets are the tokens of a text."""
    return task.family is not ModelFamily.ENCODER


def learned(task: Task[Any], tokenizer: Any, samples: list[Sample]) -> str:
    """Return the text of the tokens with loss; of a span that of the tokens it is of, of classes their names."""
    if isinstance(task.objective, MaskedObjective):
        return str(tokenizer.decode([token for row in samples for token in text_of(row)[0]], skip_special_tokens=True))
    if isinstance(task.objective, ClassificationObjective):
        return ", ".join(task.objective.classes[number] for sample in samples for number in task.objective.gold(sample))
    if not writes(task):
        ((*_, first, last),) = [list(row.input_ids) for row in samples]
        return str(tokenizer.decode(samples[0].input_ids[first : last + 1])) if last else UNANSWERABLE
    tokens = [token for row in samples for token, mark in zip(row.input_ids, row.loss_mask, strict=True) if mark]
    return str(tokenizer.decode(tokens, skip_special_tokens=True))


def encoded(task: Task[Any], example: Any, tokenizer: Any, length: int = WHOLE) -> list[Sample]:
    return [piece.tokens for piece in task.encode(example, tokenizer, length)]
