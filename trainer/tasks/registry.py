"""Finds a task by name: the file of trainer/tasks with that name defines it as TASK.

A convention instead of a list, so that a new task needs only its file and its row in `finetune.api.tasks`. Test:
tests/trainer/tasks/test_conformance.py, over every task.
"""

from importlib import import_module
from typing import Any

from trainer.tasks.base import Task


def task_of(name: str) -> Task[Any]:
    """Return the task with this name in job files, such as language-modeling."""
    found: Task[Any] = import_module(f"trainer.tasks.{name.replace('-', '_')}").TASK
    return found
