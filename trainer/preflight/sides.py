"""Which task reads the rows of a data set: the job's own, or that of plain texts, for those that only say how well a model reads.

Pure. Test: tests/trainer/preflight/test_adapting.py.
"""

from typing import Any

from finetune.api.adaptation import DOMAIN, GENERAL, REPLAY
from finetune.api.tasks import TaskName
from trainer.tasks.base import TRAIN, Task
from trainer.tasks.registry import task_of

LEARNED = (TRAIN, REPLAY)
TEXTS = (GENERAL, DOMAIN)


def texts_task(task: Task[Any]) -> Task[Any]:
    """Return the task of plain texts for the kind of model that learns `task`; KeyError for a kind that has none."""
    return task if task.facts.name is TaskName.LANGUAGE_MODELING else task_of(TaskName.LANGUAGE_MODELING, task.family)


def task_on(task: Task[Any], side: str) -> Task[Any]:
    """Return the task that tokenizes a data set, such as data.test."""
    if side in TEXTS:
        return texts_task(task)
    return task.on(TRAIN if side in LEARNED else side)
