"""Of two Ray clusters of one attempt, the second writes when the first has stopped."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from trainer.driver import succession
from trainer.driver.succession import LONGEST_SECONDS, SIGN, SILENT_SECONDS, Succession


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
    first.begin()
    assert cluster_in(tmp_path) == "bot-1-first"
    time = Time(lambda now: first.end() if now == 7 else None)
    after = second(tmp_path, time)
    after.begin()
    assert time.now == 7
    assert cluster_in(tmp_path) == "bot-1-second"
    after.end()
    assert not sign(tmp_path).exists()


def test_one_that_was_killed_is_waited_for_until_it_has_been_silent_for_longer_than_its_pods_may_live(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first._leave()
    time = Time(lambda now: first._leave() if now in (10, 20) else None)
    after = second(tmp_path, time)
    after.begin()
    after.end()
    assert time.now == 20 + SILENT_SECONDS


def test_one_that_never_ends_is_not_waited_for_without_end(tmp_path: Path) -> None:
    first = Succession(config_of(tmp_path), "bot-1-first")
    first._leave()
    time = Time(lambda now: first._leave())
    after = second(tmp_path, time)
    after.begin()
    after.end()
    assert time.now == LONGEST_SECONDS


@pytest.mark.parametrize(
    ("written", "attempt"),
    [
        (None, 1),
        ('{"attempt": 1, "cluster": "bot-1-first", "renewals": 3}', 2),
        ('{"attempt": 1, "cluster": "bot-1-second", "renewals": 3}', 1),
        ("no sign", 1),
        ("[]", 1),
    ],
    ids=["nobody", "another attempt", "itself", "garbage", "another shape"],
)
def test_nobody_else_is_waited_for(tmp_path: Path, written: str | None, attempt: int) -> None:
    if written is not None:
        sign(tmp_path).parent.mkdir(parents=True)
        sign(tmp_path).write_text(written)
    time = Time()
    after = second(tmp_path, time, attempt)
    after.begin()
    assert time.now == 0
    assert cluster_in(tmp_path) == "bot-1-second"
    after.end()


def test_the_sign_is_renewed_and_that_of_the_next_cluster_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "RENEWED_SECONDS", 0.01)
    first = Succession(config_of(tmp_path), "bot-1-first")
    first.begin()
    while json.loads(sign(tmp_path).read_text())["renewals"] < 3:
        pass
    first._ended.set()
    first._thread.join(10)
    sign(tmp_path).write_text('{"attempt": 1, "cluster": "bot-1-second", "renewals": 1}')
    first.end()
    assert cluster_in(tmp_path) == "bot-1-second"


def test_a_run_on_a_laptop_leaves_none(tmp_path: Path) -> None:
    alone = Succession(train_config(tmp_path), "")
    alone.begin()
    alone.end()
    assert not sign(tmp_path).exists()


def test_a_folder_that_cannot_be_written_is_the_runs_own_to_tell(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    after = second(tmp_path, Time())
    after.begin()
    after.end()
    assert (tmp_path / "out").read_text() == "a file"
