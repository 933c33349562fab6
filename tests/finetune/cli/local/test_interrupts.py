"""Which signals stop a run cleanly, and which stop it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from finetune.cli.local.interrupts import Interrupts


class Asked:
    """A trainer that notes what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def terminate(self) -> None:
        self.requests.append("terminate")

    def kill(self) -> None:
        self.requests.append("kill")


@pytest.mark.parametrize(
    ("numbers", "requests"),
    [
        pytest.param([signal.SIGINT], ["terminate"], id="ctrl-c"),
        pytest.param([signal.SIGINT, signal.SIGINT], ["terminate", "kill"], id="ctrl-c twice"),
        pytest.param([signal.SIGHUP], ["terminate"], id="closed terminal"),
        pytest.param([signal.SIGTERM, signal.SIGHUP], ["terminate"], id="logout"),
        pytest.param([signal.SIGHUP, signal.SIGTERM], ["terminate"], id="logout the other way round"),
        pytest.param([signal.SIGHUP, signal.SIGHUP, signal.SIGTERM], ["terminate"], id="logout with a closed terminal"),
        pytest.param([signal.SIGHUP, signal.SIGTERM, signal.SIGTERM], ["terminate", "kill"], id="stopped twice after a closed terminal"),
        pytest.param([signal.SIGTERM, signal.SIGHUP, signal.SIGTERM], ["terminate", "kill"], id="stopped again after a logout"),
        pytest.param([signal.SIGHUP, signal.SIGINT], ["terminate", "kill"], id="interrupted after a closed terminal"),
    ],
)
def test_only_a_repeated_request_to_stop_costs_the_checkpoint(numbers: list[signal.Signals], requests: list[str]) -> None:
    trainer = Asked()
    with hang_ups_not_ignored(), Interrupts() as interrupts:
        with interrupts.held():
            interrupts.pass_to(trainer)
        for number in numbers:
            os.kill(os.getpid(), number)
    assert trainer.requests == requests


def test_the_signals_of_a_logout_that_arrive_at_once_are_one_request() -> None:
    trainer = Asked()
    with hang_ups_not_ignored(), Interrupts() as interrupts:
        with interrupts.held():
            interrupts.pass_to(trainer)
        send_at_once(signal.SIGTERM, signal.SIGHUP)
    assert trainer.requests == ["terminate"]


def test_the_signals_of_a_logout_that_arrive_before_the_trainer_interrupt_the_command_once() -> None:
    cleaned_up = False
    with hang_ups_not_ignored(), Interrupts():
        try:
            send_at_once(signal.SIGTERM, signal.SIGHUP)
        except KeyboardInterrupt:
            cleaned_up = True
    assert cleaned_up


def send_at_once(*numbers: signal.Signals) -> None:
    """Have signals handled together, as when they come while the process does something that no handler interrupts.

    They are sent to this thread: another one, which does not block them, would take those of the process at once.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        for number in numbers:
            signal.pthread_kill(threading.get_ident(), number)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextlib.contextmanager
def hang_ups_not_ignored() -> Iterator[None]:
    """Whoever runs the tests may have them ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
