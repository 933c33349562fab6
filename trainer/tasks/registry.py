"""Finds a task by name and kind of model: the file of trainer/tasks with that name lists one for each kind as TASKS.

A convention instead of a list, so that a new task needs only its file and its row in `finetune.api.tasks`. Test:
tests/trainer/tasks/test_conformance.py, over every task.
"""

from importlib import import_module
from typing import Any

from finetune.api.tasks import ModelFamily
from trainer.tasks.base import Task


def tasks_named(name: str) -> tuple[Task[Any], ...]:
    """Return the task with this name in job files, such as language-modeling, as each kind of model learns it."""
    found: tuple[Task[Any], ...] = import_module(f"trainer.tasks.{name.replace('-', '_')}").TASKS
    return found


def task_of(name: str, family: ModelFamily) -> Task[Any]:
    """Return a task as a kind of model learns it; KeyError for one that cannot."""
    return {task.family: task for task in tasks_named(name)}[family]


def reader_of(name: str) -> Task[Any]:
    """Return a task to read rows with, before it is known which kind of model learns them: they are read in the same way for all."""
    return tasks_named(name)[0]
