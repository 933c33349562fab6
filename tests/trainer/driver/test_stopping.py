"""The first signal ends a run at once where nothing is lost by it, and is handed to the workers where they train."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from finetune.api.record import Stage
from trainer.driver.stopping import SIGNALS, TURN_SECONDS, InterruptedRunError, StopRequest

DEAF = threading.Event()
"""Never set: what waits for it does not notice a stop."""


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    request = StopRequest()
    request.install()
    yield request
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("stage", [None, *(stage for stage in Stage if stage is not Stage.TRAINING)])
def test_a_run_that_does_not_train_ends_at_once_whatever_it_is_in_the_middle_of(
    stop: StopRequest, stage: Stage | None, number: signal.Signals
) -> None:
    def work() -> str:
        if stage is not None:
            stop.note(stage)
        send(number)
        DEAF.wait()
        return "done"

    assert stop.oversee(work) is None


def test_a_run_that_trains_is_left_to_its_workers(stop: StopRequest) -> None:
    def work() -> str:
        stop.note(Stage.TRAINING)
        send()
        wait_until_wanted(stop)
        return "the workers have ended"

    assert stop.oversee(work) == "the workers have ended"


def test_a_run_that_is_given_up_ends_at_once_also_in_training_and_its_workers_are_not_asked(stop: StopRequest) -> None:
    def work() -> str:
        stop.note(Stage.TRAINING)
        stop.give_up()
        DEAF.wait()
        return "done"

    assert stop.oversee(work) is None
    assert not stop.wanted


def test_a_request_that_the_last_step_did_not_see_ends_the_run_after_it(stop: StopRequest) -> None:
    def work() -> str:
        stop.note(Stage.TRAINING)
        send()
        wait_until_wanted(stop)
        stop.note(Stage.FINAL)
        DEAF.wait()
        return "done"

    assert stop.oversee(work) is None


def test_a_request_that_is_repeated_or_followed_by_a_signal_leaves_time_for_a_checkpoint(stop: StopRequest) -> None:
    def work() -> str:
        stop.note(Stage.TRAINING)
        for _ in range(3):
            stop.ask()
        assert stop.wanted
        send()
        time.sleep(5 * TURN_SECONDS)
        assert not stop.due
        return "the workers have ended"

    assert stop.oversee(work) == "the workers have ended"


def test_a_request_ends_a_run_that_does_not_train_at_once(stop: StopRequest) -> None:
    def work() -> str:
        stop.ask()
        DEAF.wait()
        return "done"

    assert stop.oversee(work) is None


def test_a_second_signal_ends_a_run_that_trains(stop: StopRequest) -> None:
    def work() -> str:
        stop.note(Stage.TRAINING)
        send()
        wait_until_wanted(stop)
        send()
        DEAF.wait()
        return "done"

    assert stop.oversee(work) is None


def test_a_library_that_puts_a_handler_of_its_own_there_does_not_keep_it(stop: StopRequest) -> None:
    others = signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def work() -> str:
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            time.sleep(0.01)
        return "ours is back"

    assert stop.oversee(work) == "ours is back"
    assert signal.getsignal(signal.SIGTERM) == others


def test_what_ends_the_work_is_what_ends_the_run(stop: StopRequest) -> None:
    def work() -> str:
        raise InterruptedRunError("stopped")

    with pytest.raises(InterruptedRunError):
        stop.oversee(work)


def test_a_run_that_is_done_takes_no_notice(stop: StopRequest) -> None:
    stop.disregard()
    for number in SIGNALS:
        send(number)
    assert not stop.wanted


def test_a_hang_up_that_nohup_wants_ignored_stays_ignored() -> None:
    program = (
        "import os, signal\n"
        "from trainer.driver.stopping import StopRequest\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "stop = StopRequest()\n"
        "stop.install()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(stop.wanted)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


def wait_until_wanted(stop: StopRequest) -> None:
    while not stop.wanted:
        time.sleep(0.01)
