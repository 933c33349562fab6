"""A worker process waits for what the driver orders before it does anything with the run."""

from types import SimpleNamespace

import pytest

from trainer.rank.worker import ORDER_POLL_SECONDS, await_order
from trainer.reporting.progress import Order, ProgressBox
from trainer.reporting.stageclock import StageClock


def test_a_worker_waits_until_the_driver_has_checked_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    inner, pauses = ProgressBox(), list[float]()
    given = Order(b"inputs", "me", StageClock("driver", 0.0), only_results=True)
    monkeypatch.setattr("ray.get", lambda answer: answer)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            inner.give(given)

    assert await_order(SimpleNamespace(order=SimpleNamespace(remote=inner.order)), pause) is given
    assert pauses == [ORDER_POLL_SECONDS] * 3


def test_a_worker_whose_driver_is_gone_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: object) -> None:
        raise ConnectionError("the actor died")

    monkeypatch.setattr("ray.get", gone)
    with pytest.raises(ConnectionError):
        await_order(SimpleNamespace(order=SimpleNamespace(remote=lambda: None)), lambda _: None)
