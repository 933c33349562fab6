"""What the trainer writes reaches the screen and status.json."""

import json
import os
import shutil
from pathlib import Path

import pytest

from finetune.api.record import Outcome, ProgressRecord, Result, Stage
from finetune.api.status import FineTuneJobStatus
from finetune.cli.local.configuration import Folders
from finetune.cli.local.follow import Follower, login_hint, outcome_of_exit, read_status
from finetune.cli.local.outcome import Ended
from finetune.cli.local.status import begin
from tests.finetune.cli.records import NOON, checkpoint, record


class Lines:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def show(self, record: ProgressRecord) -> None:
        self.shown = record

    def close(self) -> None: ...


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / ".finetune").mkdir()
    return Folders(tmp_path)


def follower(folders: Folders) -> tuple[Follower, Lines]:
    lines = Lines()
    return Follower(folders, lines, begin(FineTuneJobStatus(), "bot", NOON), os.environ), lines


def write(folders: Folders, newest: ProgressRecord) -> None:
    folders.progress.write_text(json.dumps(newest.to_wire()))


def test_status_is_there_before_the_trainer_says_anything(folders: Folders) -> None:
    follower(folders)
    assert read_status(folders).phase == "Running"


def test_a_record_is_shown_once(folders: Folders) -> None:
    following, lines = follower(folders)
    write(folders, record(step=1))
    following.poll()
    following.poll()
    assert lines.said == ["training"]
    progress = read_status(folders).progress
    assert progress is not None
    assert progress.step == 1


def test_a_record_that_cannot_be_read_is_passed_over(folders: Folders) -> None:
    following, lines = follower(folders)
    folders.progress.write_text('{"stage": "Dreaming"}')
    following.poll()
    assert lines.said == []


def test_the_dashboard_is_shown_once_with_the_way_in_and_without_the_token(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-secret")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/ray")
    following, lines = follower(folders)
    folders.dashboard.write_text('{"url": "http://127.0.0.1:8265"}')
    following.poll()
    following.poll()
    assert lines.said == ["Ray dashboard: http://127.0.0.1:8265 (token: the value of RAY_AUTH_TOKEN; `ray get-auth-token` prints it)"]


def test_the_way_in_names_the_file_that_holds_the_token(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    assert str(tmp_path / ".ray/auth_token") in login_hint(environment)
    environment["RAY_AUTH_TOKEN_PATH"] = "/elsewhere"
    assert "/elsewhere" in login_hint(environment)
    environment["RAY_AUTH_MODE"] = "disabled"
    assert "open to everybody" in login_hint(environment)


def test_the_trainers_own_last_word_counts(folders: Folders) -> None:
    following, _ = follower(folders)
    outcome = Outcome(result=Result.FAILED, reason="OutOfMemory", message="too big")
    write(folders, record(Stage.FINISHED, outcome=outcome))
    assert following.conclude(1) == Ended(outcome, reported=True, last_checkpoint=None)


@pytest.mark.parametrize(
    ("exit_code", "result"),
    [
        (0, Result.SUCCEEDED),
        (1, Result.FAILED),
        (2, Result.INPUT_INVALID),
        (3, Result.INTERRUPTED),
        (137, Result.FAILED),
        (139, Result.FAILED),
    ],
)
def test_without_a_last_word_the_exit_code_counts(folders: Folders, exit_code: int, result: Result) -> None:
    following, _ = follower(folders)
    write(folders, record(step=3))
    assert following.conclude(exit_code) == Ended(outcome_of_exit(exit_code), reported=False, last_checkpoint=None)
    assert outcome_of_exit(exit_code).result is result
    attempts = read_status(folders).attempts
    assert attempts
    assert attempts[0].outcome is not None


@pytest.mark.parametrize(
    ("exit_code", "result"),
    [
        pytest.param(0, Result.SUCCEEDED, id="was done before the request came"),
        pytest.param(2, Result.INPUT_INVALID, id="its input was refused"),
        pytest.param(1, Result.INTERRUPTED, id="broke on its way out"),
        pytest.param(137, Result.INTERRUPTED, id="had to be killed"),
        pytest.param(134, Result.INTERRUPTED, id="aborted"),
    ],
)
def test_a_stop_by_the_user_is_no_failure_however_the_trainer_came_to_its_end(folders: Folders, exit_code: int, result: Result) -> None:
    following, _ = follower(folders)
    write(folders, record(step=3, checkpoints=[checkpoint(2)]))
    ended = following.conclude(exit_code, stopped=True)
    assert (ended.outcome.result, ended.last_checkpoint) == (result, 2)
    assert "memory" not in ended.outcome.message
    assert (read_status(folders).phase == "Failed") == (result is Result.INPUT_INVALID)


def test_a_full_disk_does_not_end_the_run(folders: Folders) -> None:
    following, _ = follower(folders)
    write(folders, record(step=3))
    (folders.output / "status.json").unlink()
    (folders.output / "status.json").mkdir()  # writing it fails
    following.poll()
    assert following.record is not None
