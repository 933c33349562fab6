"""Adapters whose parts are not on a line are left out of a sweep: lengths of DoRA, weak directions of OSF."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.api.sections import Method, Regularization
from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_model
from trainer.model.lora import apply_method
from trainer.objectives.family import CAUSAL_LM
from trainer.rank.sweep import positions_of


def loaded(model: Any) -> Any:
    return SimpleNamespace(engine=SimpleNamespace(model=model, shards_parameters=False))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"lora": {"rank": 2, "useDora": True}}, "DoRA weights cannot be interpolated"),
        ({"osf": {}}, "OSF weights cannot be interpolated"),
    ],
)
def test_no_position_is_measured_and_the_reason_is_said(method: dict[str, Any], words: str) -> None:
    model = apply_method(tiny_model(), Method.model_validate(method), Regularization(), 1, CAUSAL_LM)
    said: list[str] = []
    measuring: Any = SimpleNamespace(config=train_config(method=method), loaded=loaded(model))
    outbox: Any = SimpleNamespace(warn=said.append, warnings=said)
    for _ in range(2):  # what the checks have found is not said again
        assert list(positions_of(measuring, 1, [0.0, 0.5], outbox)) == []
    [warning] = said
    assert warning.startswith("domainAdaptation.sweep: left out: ")
    assert re.search(words, warning)


def test_plain_adapters_are_on_the_line() -> None:
    method = {"lora": {"rank": 2, "useRslora": True}}
    model = apply_method(tiny_model(), Method.model_validate(method), Regularization(), 1, CAUSAL_LM)
    measuring: Any = SimpleNamespace(config=train_config(method=method), loaded=loaded(model))
    assert list(positions_of(measuring, 1, [0.0, 0.5], SimpleNamespace(warn=pytest.fail))) == [0.0, 0.5]  # type: ignore[arg-type]
