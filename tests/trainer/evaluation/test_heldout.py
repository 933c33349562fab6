"""Rows know where they were read from, if that is wanted."""

from typing import Any

import pytest

from finetune.api.evaluation import Generation
from tests.trainer.fixtures.examples import chat
from trainer.data.rows import Example
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.metrics.evidence import Tags
from trainer.tasks.chat import CHAT
from trainer.training.batches import AtOnce

ORIGINS = ("data.test[0] line 3", "data.test[1] a.csv line 1", "data.test[0] line 9")
EXAMPLES: list[Example] = [chat("a", "b", origin=origin) for origin in ORIGINS]


def held_out(**changes: Any) -> HeldOut[Any]:
    return HeldOut(CHAT, None, EXAMPLES, [], AtOnce(1), 10, Generation(), **changes)


def test_the_source_of_a_row_is_the_field_that_names_it() -> None:
    source, group = held_out().tags()
    assert (source, group) == (Tags.of(["data.test[0]", "data.test[1]", "data.test[0]"]), Tags.of(["", "", ""]))


def test_no_example_is_read_where_sources_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Example, "source", property(lambda _: pytest.fail("an example was read")))
    assert held_out(tagged=False).tags() == (Tags(), Tags())
