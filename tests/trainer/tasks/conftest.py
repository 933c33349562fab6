"""Each task with each kind of model that learns it."""

from typing import Any

import pytest

from finetune.api.tasks import TASKS
from tests.trainer.fixtures.kinds import byte_tokenizer_for
from tests.trainer.tasks.conforming import read
from trainer.tasks.base import Task
from trainer.tasks.registry import task_of

ROUTES = [(name, family) for name, facts in TASKS.items() for family in facts.families]


@pytest.fixture(params=ROUTES, ids=[f"{name.value}, {family.value}" for name, family in ROUTES])
def task(request: pytest.FixtureRequest) -> Task[Any]:
    found = task_of(*request.param)
    known = found.knowing(read(found))
    return known.fitting(byte_tokenizer_for(known))


@pytest.fixture
def prepared(task: Task[Any]) -> Any:
    """The tokenizer with a token per byte, as the task wants it."""
    return byte_tokenizer_for(task)
