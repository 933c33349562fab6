"""Which signals stop a run cleanly, and which stop it at once."""

import os
import signal

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
        pytest.param([signal.SIGHUP, signal.SIGTERM], ["terminate", "kill"], id="stopped after the terminal was closed"),
    ],
)
def test_only_a_repeated_request_to_stop_costs_the_checkpoint(numbers: list[signal.Signals], requests: list[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored
    try:
        trainer = Asked()
        with Interrupts() as interrupts:
            with interrupts.held():
                interrupts.pass_to(trainer)
            for number in numbers:
                os.kill(os.getpid(), number)
        assert trainer.requests == requests
    finally:
        signal.signal(signal.SIGHUP, before)
