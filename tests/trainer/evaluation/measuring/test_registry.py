"""Every kind of evidence is measured in one way, found in the folder."""

from types import SimpleNamespace
from typing import Any

import pytest

from finetune.api.metrics import Needs
from finetune.api.tasks import TASKS
from trainer.evaluation.measuring import generated, tokens
from trainer.evaluation.measuring.registry import ways


def test_what_the_tasks_are_measured_from_has_a_way() -> None:
    assert {needs for facts in TASKS.values() for route in facts.routes for needs in route.measured_from} <= set(ways())
    assert ways()[Needs.TOKEN_SUMS] is tokens.MEASURED_BY[Needs.TOKEN_SUMS]


def test_two_files_cannot_measure_the_same_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: Any) -> Any:
        return SimpleNamespace()

    monkeypatch.setattr(generated, "MEASURED_BY", {Needs.TOKEN_SUMS: other})
    with pytest.raises(RuntimeError, match=r"measuring\.tokens measures token sums, which another file does too"):
        ways.__wrapped__()
