import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from controller.runtime import errors
from controller.runtime.metrics import Metrics
from controller.runtime.workers import Workers
from controller.runtime.workqueue import WorkQueue
from tests.virtual_time import now, run_in_virtual_time

Reconcile = Callable[[str], Awaitable[float | None]]


class Looked:
    """A reconciler that notes when it looked, and does what a test told it to do for each look in turn."""

    def __init__(self, *outcomes: float | Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []

    async def __call__(self, key: str) -> float | None:
        self.times.append(now())
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def work_on(reconcile: Reconcile, *, seconds: float = 3600, metrics: Metrics | None = None, limit_seconds: float = 120) -> None:
    async def main() -> None:
        queue = WorkQueue(clock=now, jitter=lambda: 0.5)
        queue.add("team-a/job")
        running = asyncio.create_task(
            Workers(queue, reconcile, metrics or Metrics("test"), 2, limit_seconds=limit_seconds, jitter=lambda: 0.0).run()
        )
        await asyncio.sleep(seconds)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])

    run_in_virtual_time(main())


def test_a_key_is_looked_at_again_after_the_time_that_reconcile_returned() -> None:
    looked = Looked(30.0, 60.0, None)
    work_on(looked)

    assert looked.times == pytest.approx([0, 30, 90])


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        pytest.param(errors.Unreachable("down"), [0.25, 0.5, 1.0], id="API down"),
        pytest.param(errors.Conflict("changed"), [0.25, 0.5, 1.0], id="conflict"),
        pytest.param(ValueError("a bug"), [0.25, 0.5, 1.0], id="a bug"),
        pytest.param(errors.NotFound("no such claim"), [5.0, 10.0, 20.0], id="waiting for somebody"),
        pytest.param(errors.TooManyRequests("slow", retry_after_seconds=7), [7.0, 10.0, 10.0], id="asked to slow down"),
        pytest.param(errors.TooManyRequests("slow", retry_after_seconds=40), [40.0, 40.0, 40.0], id="asked to slow down much"),
    ],
)
def test_a_failure_is_tried_again_with_growing_pauses(error: Exception, pauses: list[float]) -> None:
    looked = Looked(error, error, error)
    work_on(looked)

    assert [later - earlier for earlier, later in zip(looked.times, looked.times[1:], strict=False)] == pytest.approx(pauses)


def test_a_hopeless_failure_is_not_tried_again_by_itself() -> None:
    looked = Looked(errors.Invalid("spec is wrong"))
    work_on(looked)

    assert len(looked.times) == 1


def test_after_a_success_pauses_start_over() -> None:
    down = errors.Unreachable("down")
    looked = Looked(down, down, 100.0, down, None)
    work_on(looked)

    assert looked.times[4] - looked.times[3] == pytest.approx(0.25)


def test_a_reconcile_that_hangs_is_ended_and_tried_again() -> None:
    looks = 0

    async def hang(key: str) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            await asyncio.sleep(10_000)

    work_on(hang, limit_seconds=60)

    assert looks == 2


@pytest.mark.parametrize(
    ("error", "within", "due"),
    [
        (errors.NotFound("no such claim"), 40.0, [0, 5, 15, 35, 75, 115]),
        (errors.Invalid("spec is wrong"), 40.0, [0, 40, 80]),
        (errors.NotFound("no such claim"), 0.0, [0, 5, 10, 15]),
    ],
    ids=["the pauses grow beyond it", "no retry is due", "never in a rush"],
)
def test_what_is_due_in_any_case_does_not_wait_for_the_retries_of_what_failed(
    error: errors.KubeError, within: float, due: list[float]
) -> None:
    error.again_within_seconds = within
    looked = Looked(*[error] * (len(due) - 1), None)
    work_on(looked)
    assert looked.times == pytest.approx(due)


def test_keys_that_ask_for_the_same_pause_do_not_stay_together_and_none_comes_early() -> None:
    async def main() -> list[float]:
        looked, queue = Looked(30.0, 30.0), WorkQueue(clock=now, jitter=lambda: 0.5)
        spread = iter([0.0, 1.0])
        queue.add("a")
        queue.add("b")
        running = asyncio.create_task(Workers(queue, looked, Metrics("test"), 2, jitter=lambda: next(spread)).run())
        await asyncio.sleep(100)
        running.cancel()
        await asyncio.wait([running])
        return looked.times[2:]

    assert run_in_virtual_time(main()) == pytest.approx([30, 33])


def test_failures_are_counted_by_kind_and_logged_with_key_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("test")
    with caplog.at_level(logging.INFO):
        work_on(Looked(errors.NotFound("no such claim"), errors.Invalid("spec is wrong")), metrics=metrics)

    sample = metrics.registry.get_sample_value
    assert sample("test_reconcile_errors_total", {"kind": "waiting"}) == 1
    assert sample("test_reconcile_errors_total", {"kind": "terminal"}) == 1
    assert sample("test_queue_retries_total") == 1
    assert sample("test_reconcile_seconds_count") == 2
    assert [(vars(record)["key"], vars(record)["error"]) for record in caplog.records] == [
        ("team-a/job", "NotFound: no such claim"),
        ("team-a/job", "Invalid: spec is wrong"),
    ]


def test_closing_the_queue_lets_what_was_begun_finish() -> None:
    finished: list[str] = []

    async def slow(key: str) -> None:
        await asyncio.sleep(3)
        finished.append(key)

    async def main() -> float:
        queue = WorkQueue(clock=now)
        for key in "abc":
            queue.add(key)
        running = asyncio.create_task(Workers(queue, slow, Metrics("test"), 2).run())
        await asyncio.sleep(1)
        queue.close()
        await running
        return now()

    assert run_in_virtual_time(main()) == pytest.approx(3)
    assert sorted(finished) == ["a", "b"]


def test_work_that_is_cut_off_is_not_forgotten() -> None:
    async def main() -> list[str]:
        queue, finished = WorkQueue(clock=now), list[str]()

        async def slow(key: str) -> None:
            await asyncio.sleep(3)
            finished.append(key)

        queue.add("a")
        first = asyncio.create_task(Workers(queue, slow, Metrics("test"), 1).run())
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.wait([first])
        assert finished == []
        second = asyncio.create_task(Workers(queue, slow, Metrics("test"), 1).run())
        await asyncio.sleep(10)
        second.cancel()
        await asyncio.wait([second])
        return finished

    assert run_in_virtual_time(main()) == ["a"]
