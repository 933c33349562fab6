"""SIGTERM ends a run at once where nothing is lost by it, and is handed to the workers where they train."""

import os
import signal
from collections.abc import Iterator

import pytest

from trainer.config.record import Stage
from trainer.stopping import InterruptedRunError, StopRequest


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    before = signal.getsignal(signal.SIGTERM)
    request = StopRequest()
    request.install()
    yield request
    signal.signal(signal.SIGTERM, before)


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("stage", [None, *(stage for stage in Stage if stage is not Stage.TRAINING)])
def test_a_run_that_does_not_train_ends_at_once(stop: StopRequest, stage: Stage | None) -> None:
    if stage is not None:
        stop.note(stage)
    with pytest.raises(InterruptedRunError):
        sigterm()


def test_a_run_that_trains_is_left_to_its_workers(stop: StopRequest) -> None:
    stop.note(Stage.TRAINING)
    sigterm()
    assert stop.wanted


def test_a_wish_that_the_last_step_did_not_see_ends_the_run_after_it(stop: StopRequest) -> None:
    stop.note(Stage.TRAINING)
    sigterm()
    with pytest.raises(InterruptedRunError):
        stop.note(Stage.FINAL)


def test_a_run_that_is_done_takes_no_notice(stop: StopRequest) -> None:
    stop.disregard()
    sigterm()
    assert not stop.wanted
