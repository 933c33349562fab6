"""Of two Ray clusters of one attempt, the second writes when the first has stopped."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from trainer.driver import succession
from trainer.driver.stopping import InterruptedRunError, StopRequest
from trainer.driver.succession import LONGEST_SECONDS, SIGN, SILENT_SECONDS, Succession
from trainer.storage.ownership import Ownership


def config_of(folder: Path, attempt: int = 1) -> TrainConfig:
    progress = {"namespace": "team", "configMap": "bot-1-progress"}
    return train_config(folder, job={"name": "bot", "uid": "u", "attempt": attempt}, progress=progress)


class Time:
    """A clock that only sleeping moves; `meanwhile` happens in each sleep."""

    def __init__(self, meanwhile: Callable[[float], object] = lambda now: None) -> None:
        self.now, self._meanwhile = 0.0, meanwhile

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._meanwhile(self.now)


def second(folder: Path, time: Time, attempt: int = 1) -> Succession:
    return Succession(config_of(folder, attempt), "bot-1-second", lambda: time.now, time.sleep)


def sign(folder: Path) -> Path:
    return folder / "out" / SIGN


def cluster_in(folder: Path) -> str:
    return str(json.loads(sign(folder).read_text())["cluster"])


def test_the_next_cluster_waits_until_the_one_before_has_ended(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first.begin(StopRequest())
    assert cluster_in(tmp_path) == "bot-1-first"
    time = Time(lambda now: first.end() if now == 7 else None)
    after = second(tmp_path, time)
    after.begin(StopRequest())
    assert time.now == 7
    assert cluster_in(tmp_path) == "bot-1-second"
    after.end()
    third = Time()
    last = Succession(config_of(tmp_path), "bot-1-third", lambda: third.now, third.sleep)
    last.begin(StopRequest())
    last.end()
    assert third.now == 0


def test_one_that_was_killed_is_waited_for_until_it_has_been_silent_for_longer_than_its_pods_may_live(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first._leave()
    time = Time(lambda now: first._leave() if now in (10, 20) else None)
    after = second(tmp_path, time)
    after.begin(StopRequest())
    after.end()
    assert time.now == 20 + SILENT_SECONDS


def test_one_that_never_ends_is_not_written_beside(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first._leave()
    time = Time(lambda now: first._leave())
    after = second(tmp_path, time)
    with pytest.raises(InterruptedRunError, match=r"the Ray cluster bot-1-first, .* still writes to .*/out after 300 s"):
        after.begin(StopRequest())
    after.end()
    assert time.now == LONGEST_SECONDS
    assert (cluster_in(tmp_path), first._is_ours()) == ("bot-1-first", True)


def test_a_stop_is_not_kept_waiting_by_the_cluster_before(tmp_path: Path) -> None:
    first, stop = Succession(config_of(tmp_path), "bot-1-first"), StopRequest()
    first._leave()
    time = Time(lambda now: stop.ask() if now == 3 else None)
    with pytest.raises(InterruptedRunError, match="stopped on request"):
        second(tmp_path, time).begin(stop)
    assert (time.now, cluster_in(tmp_path)) == (3, "bot-1-first")


def break_sign(folder: Path) -> None:
    """Make every read of the sign fail, until `mend_sign`; it could be written."""
    sign(folder).rename(sign(folder).with_name("kept"))
    sign(folder).symlink_to("x" * 300)  # longer than a name may be


def mend_sign(folder: Path) -> None:
    """Put the sign back; fails where something was written meanwhile."""
    assert sign(folder).is_symlink()
    sign(folder).unlink()
    sign(folder).with_name("kept").rename(sign(folder))


def test_a_sign_that_cannot_be_read_for_a_while_is_waited_for_as_one_that_is_renewed(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first._leave()
    break_sign(tmp_path)
    time = Time(lambda now: mend_sign(tmp_path) if now == 2 * SILENT_SECONDS else None)
    after = second(tmp_path, time)
    after.begin(StopRequest())
    after.end()
    assert time.now == 3 * SILENT_SECONDS


def test_a_sign_that_can_never_be_read_fails_the_attempt(tmp_path: Path) -> None:
    first, time = Succession(config_of(tmp_path), "bot-1-first"), Time()
    first._leave()
    break_sign(tmp_path)
    with pytest.raises(OSError, match="File name too long"):
        second(tmp_path, time).begin(StopRequest())
    assert time.now == LONGEST_SECONDS


@pytest.mark.parametrize(
    ("written", "attempt"),
    [
        (None, 1),
        ('{"attempt": 1, "cluster": "bot-1-first", "renewals": 3}', 2),
        ('{"attempt": 1, "cluster": "bot-1-second", "renewals": 3}', 1),
        ('{"attempt": 1, "cluster": "bot-1-first", "renewals": 3, "ended": true}', 1),
        ("no sign", 1),
        ("[]", 1),
        ("\udcff", 1),
    ],
    ids=["nobody", "another attempt", "itself", "one that has ended", "garbage", "another shape", "no text"],
)
def test_nobody_else_is_waited_for(tmp_path: Path, written: str | None, attempt: int) -> None:
    if written is not None:
        sign(tmp_path).parent.mkdir(parents=True)
        sign(tmp_path).write_text(written, errors="surrogateescape")
    time = Time()
    after = second(tmp_path, time, attempt)
    after.begin(StopRequest())
    assert time.now == 0
    assert cluster_in(tmp_path) == "bot-1-second"
    after.end()


SECOND = '{"attempt": 1, "cluster": "bot-1-second", "renewals": 1}'


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("taken", [SECOND, SECOND.replace("}", ', "ended": true}')], ids=["writes", "has written and ended"])
def test_one_whose_place_another_has_taken_ends_its_run_and_leaves_the_sign_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    monkeypatch.setattr(succession, "RENEWED_SECONDS", 0.01)
    stop, first = StopRequest(), Succession(config_of(tmp_path), "bot-1-first")

    def work() -> str:
        first.begin(stop)
        wait_until(lambda: json.loads(sign(tmp_path).read_text())["renewals"] >= 3)
        wait_until(take_over)
        threading.Event().wait()
        return "never"

    def take_over() -> str:
        if not first.taken_by:  # again where it has just looked, and writes once more
            sign(tmp_path).with_name("other").write_text(taken)
            sign(tmp_path).with_name("other").replace(sign(tmp_path))
        time.sleep(0.05)
        return first.taken_by

    assert stop.oversee(work) is None
    assert (first.taken_by, stop.wanted) == ("bot-1-second", False), "the workers are asked for no checkpoint"
    first.end()
    assert sign(tmp_path).read_text() == taken


def test_the_sign_of_another_is_left_alone_at_the_end(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first.begin(StopRequest())
    sign(tmp_path).write_text(SECOND)
    first.end()
    assert (first.taken_by, sign(tmp_path).read_text()) == ("bot-1-second", SECOND)


def test_a_sign_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first.begin(StopRequest())
    break_sign(tmp_path)
    first.end()
    mend_sign(tmp_path)
    assert (first.taken_by, json.loads(sign(tmp_path).read_text())["ended"]) == ("", False)


def test_another_jobs_output_gets_no_sign(tmp_path: Path) -> None:
    other = train_config(tmp_path, job={"name": "other", "uid": "v"})
    Ownership.of(other, {}).write(finished=False)
    after = second(tmp_path, Time())
    with pytest.raises(InputError, match="belongs to the job 'other'"):
        after.begin(StopRequest())
    after.end()
    assert not sign(tmp_path).exists()


def test_only_the_first_sign_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", synced.append)
    first = Succession(config_of(tmp_path), "bot-1-first")
    first.begin(StopRequest())
    before = len(synced)
    first._leave()
    first.end()
    assert before > 0
    assert len(synced) == before


def test_a_run_on_a_laptop_leaves_none(tmp_path: Path) -> None:
    alone = Succession(train_config(tmp_path), "bot-1-first")
    alone.begin(StopRequest())
    alone.end()
    assert not sign(tmp_path).exists()


def test_a_folder_that_cannot_be_written_is_the_runs_own_to_tell(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    after = second(tmp_path, Time())
    after.begin(StopRequest())
    after.end()
    assert (tmp_path / "out").read_text() == "a file"
