"""Reports that are refused are counted once each, by their reason, and told at debug level."""

import logging
from collections import Counter

import pytest

from controller.job.names import labels, progress_name
from controller.job.reconciler import Reconciler
from controller.job.refusals import SOURCES_MAX, Refusals, Refused
from controller.runtime.resources import CONFIG_MAPS
from tests.controller.job.builders import UID, Settings, attempt, record_text
from tests.controller.job.world import KEY, World

OLD_UID = "ffff0000-5678-4321-8765-0123456789ab"


def refused(content: int, source: str = "attempt 1", *, late: bool = False) -> Refused:
    return Refused("Unreadable", source, "no JSON", content, late)


def test_each_report_counts_once_however_often_it_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    counted = Counter[str]()
    refusals = Refusals(lambda reason: counted.update([reason]))
    with caplog.at_level(logging.DEBUG, "controller.job.refusals"):
        for content in (1, 1, 2, 2, 1):
            refusals.take(KEY, [refused(content)])
    assert counted == {"Unreadable": 3}
    assert [(record.levelname, record.key, record.why) for record in caplog.records] == 3 * [("DEBUG", KEY, "no JSON")]  # type: ignore[attr-defined]


def test_what_was_there_before_counts_only_once_it_changes() -> None:
    counted = Counter[str]()
    refusals = Refusals(lambda reason: counted.update([reason]))
    for content in (1, 1):
        refusals.take(KEY, [refused(content, late=True)])
    assert counted == {}
    refusals.take(KEY, [refused(2, late=True)])
    assert counted == {"Unreadable": 1}


def test_many_objects_with_the_name_of_a_job_take_no_memory_without_bounds() -> None:
    counted = Counter[str]()
    refusals = Refusals(lambda reason: counted.update([reason]))
    refusals.take(KEY, [refused(1, f"object {number}") for number in range(1000)])
    assert counted == {"Unreadable": SOURCES_MAX}
    refusals.forget(KEY)
    refusals.take(KEY, [refused(1)])
    assert counted == {"Unreadable": SOURCES_MAX + 1}


class Counting:
    """A job whose second attempt runs, and what is counted of the reports about it."""

    def __init__(self) -> None:
        self.world, self.counted = World(), Counter[str]()
        self.world.set_status(attempt(1, outcome="Failed", reason="TrainerFailed"), attempt(2), report_cursor="2/bot-2-x7k2p/3")
        self.world.put_ray_job(2)
        world = self.world
        self.world.reconciler = Reconciler(
            world.stores, world.client, Settings(), world.log, clock=world.clock, count_refused=lambda reason: self.counted.update([reason])
        )

    def report(self, attempt: int, text: str, uid: str = UID) -> None:
        metadata = {"name": progress_name("bot", uid, attempt), "namespace": "team", "labels": labels("bot", uid, attempt)}
        owner = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "name": "bot", "uid": uid}
        item = {"metadata": {**metadata, "ownerReferences": [owner]}, "data": {"record.json": text}}
        self.world.api.put(CONFIG_MAPS, item)

    async def passes(self) -> dict[str, int]:
        for _ in range(3):
            await self.world.step()
        return dict(self.counted)


async def test_reports_that_are_taken_over_are_not_counted() -> None:
    job = Counting()
    for sequence in (4, 5):
        job.report(2, record_text(attempt=2, cluster="bot-2-x7k2p", sequence=sequence))
        assert await job.passes() == {}
    assert job.world.status["progress"]["step"] == 20


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (record_text(attempt=1, cluster="bot-1-x7k2p"), "OtherAttempt"),
        (record_text(attempt=2, cluster="bot-2-older"), "OtherCluster"),
        (record_text(attempt=2, cluster="bot-2-x7k2p", sequence=2), "LowerSequence"),
        ("{", "Unreadable"),
        ("x" * 1_000_000, "TooLarge"),
    ],
    ids=["of another attempt", "of another cluster", "a lower number", "no JSON", "too large"],
)
async def test_what_the_attempt_reports_in_vain_is_counted_by_its_reason(text: str, reason: str) -> None:
    job = Counting()
    job.report(2, text)
    assert await job.passes() == {reason: 1}
    assert "progress" not in job.world.status


async def test_an_attempt_that_has_ended_and_reports_on_is_counted_but_not_its_last_report() -> None:
    job = Counting()
    job.report(1, record_text())
    assert await job.passes() == {}
    job.report(1, record_text(sequence=4))
    assert await job.passes() == {"EndedAttempt": 1}
    assert "progress" not in job.world.status


async def test_an_older_object_of_the_same_name_is_counted_as_another_job() -> None:
    job = Counting()
    job.report(1, record_text(sequence=9), uid=OLD_UID)
    assert await job.passes() == {"OtherJob": 1}
    job.report(1, record_text(sequence=10), uid=OLD_UID)
    assert await job.passes() == {"OtherJob": 2}
    assert "progress" not in job.world.status
