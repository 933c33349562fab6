"""The actor between the workers and the driver."""

from finetune.api.record import Stage
from trainer.reporting.progress import ProgressBox


def test_the_box_hands_over_each_change_once_and_carries_the_request_to_stop_back() -> None:
    box = ProgressBox()
    assert box.put({"stage": Stage.TRAINING}) is False
    box.put({"resumed_from_step": 0})
    assert box.fetch() == ({"stage": Stage.TRAINING, "resumed_from_step": 0}, Stage.TRAINING)
    assert box.fetch() == ({}, Stage.TRAINING)
    box.request_stop()
    assert box.put({}) is True
