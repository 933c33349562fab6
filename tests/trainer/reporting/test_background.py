"""Figures are stored in order, by the time they have to be, and by nobody who waits for a sink that is stuck."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from trainer.reporting import background
from trainer.reporting.background import BackgroundSink


class Slow:
    """A sink that stores nothing before it is let go, and notes in which thread it does."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.threads: set[int] = set()
        self.busy, self.go = threading.Event(), threading.Event()

    def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
        self.busy.set()
        self.go.wait()
        self.stored.append(step)
        self.threads.add(threading.get_ident())


@contextmanager
def stuck() -> Iterator[tuple[BackgroundSink, Slow]]:
    """Yield a sink that is busy with the figures of step 0 until it is let go."""
    slow = Slow()
    try:
        with BackgroundSink(lambda: slow) as sink:
            sink.log(0, {})
            assert slow.busy.wait(60)
            yield sink, slow
    finally:
        slow.go.set()


def test_figures_are_stored_in_order_in_another_thread_and_all_of_them_by_a_flush() -> None:
    with stuck() as (sink, slow):
        for step in range(1, 50):
            sink.log(step, {"trainLoss": 1.0})
        slow.go.set()
        sink.flush()
        assert slow.stored == list(range(50))
        assert threading.get_ident() not in slow.threads


def test_all_figures_are_stored_when_training_ends_or_fails() -> None:
    slow = Slow()
    slow.go.set()
    with pytest.raises(ValueError, match="diverged"), BackgroundSink(lambda: slow) as sink:  # noqa: PT012 - it must fail inside
        sink.log(1, {})
        sink.log(2, {})
        raise ValueError("diverged")
    assert slow.stored == [1, 2]


def test_later_changes_of_the_figures_are_not_stored() -> None:
    stored: list[dict[str, float]] = []

    class Keeps:
        def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
            stored.append(dict(figures))

    figures = {"trainLoss": 1.0}
    with BackgroundSink(Keeps) as sink:
        sink.log(1, figures)
        figures["trainLoss"] = 2.0
    assert stored == [{"trainLoss": 1.0}]


def test_the_time_of_figures_is_when_they_were_known_however_late_their_sink_is() -> None:
    stored: list[tuple[int, float]] = []
    clock = iter([100.0, 101.5])
    opened, go = threading.Event(), threading.Event()

    class Keeps:
        def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
            stored.append((step, known_at))

    def slow() -> Keeps:
        opened.set()
        go.wait()
        return Keeps()

    with BackgroundSink(slow, clock=lambda: next(clock)) as sink:
        sink.log(1, {})
        assert opened.wait(60)
        sink.log(2, {})
        go.set()
    assert stored == [(1, 100.0), (2, 101.5)]


def test_sinks_are_opened_with_the_first_figures() -> None:
    opened: list[Slow] = []

    def opener() -> Slow:
        opened.append(Slow())
        opened[0].go.set()
        return opened[0]

    with BackgroundSink(opener) as sink:
        sink.flush()
        assert opened == []
        sink.log(1, {})
        sink.log(2, {})
        sink.flush()
        assert [slow.stored for slow in opened] == [[1, 2]]


def test_a_sink_that_is_stuck_is_waited_for_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(background, "FLUSH_SECONDS", 0.01)
    with stuck() as (sink, slow):
        sink.flush()
        assert "training goes on without waiting for them" in caplog.text
        monkeypatch.setattr(background, "FLUSH_SECONDS", 60)
        sink.flush()  # would not return
        assert slow.stored == []
        slow.go.set()


def test_figures_beyond_what_may_wait_are_dropped_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "WAITING_MAX", 3)
    with stuck() as (sink, slow):
        for step in range(1, 10):
            sink.log(step, {})
        slow.go.set()
        sink.flush()
        assert slow.stored == [0, 1, 2, 3]
    assert caplog.text.count("those from step 4 on are dropped") == 1
