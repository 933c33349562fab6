"""The actor between the workers and the driver."""

from types import SimpleNamespace
from typing import Any

import pytest

from finetune.api.record import Stage
from trainer.reporting.progress import ProgressBox, progress_box


def test_the_box_hands_over_each_change_once_and_carries_the_request_to_stop_back() -> None:
    box = ProgressBox()
    assert box.put({"stage": Stage.TRAINING}) is False
    box.put({"resumed_from_step": 0})
    assert box.fetch() == ({"stage": Stage.TRAINING, "resumed_from_step": 0}, Stage.TRAINING)
    assert box.fetch() == ({}, Stage.TRAINING)
    box.request_stop()
    assert box.put({}) is True


@pytest.mark.parametrize(
    ("environment", "runtime"),
    [
        pytest.param({}, None, id="in any process"),
        pytest.param({"FINETUNE_PRELOAD": ""}, {"env_vars": {"FINETUNE_PRELOAD": ""}}, id="in none of those for ranks"),
    ],
)
def test_the_box_is_on_the_drivers_node_and_takes_no_processor_from_the_ranks(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], runtime: dict[str, Any] | None
) -> None:
    node, options = "ab" * 28, dict[str, Any]()
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: node))
    monkeypatch.setattr("ray.remote", lambda **given: options.update(given) or (lambda kind: SimpleNamespace(remote=kind)))
    assert isinstance(progress_box(environment), ProgressBox)
    where = options["scheduling_strategy"]
    assert (options["num_cpus"], where.node_id, where.soft, options["runtime_env"]) == (0, node, False, runtime)
