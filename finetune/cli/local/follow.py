"""Follows a running trainer through the files that it writes: what is new goes to the screen, the whole to status.json.

Tests: tests/finetune/cli/local/test_follow.py.
"""

import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from finetune.api.record import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SUCCESS, STOPPED, Outcome, ProgressRecord, Result, Stage
from finetune.api.status import FineTuneJobStatus
from finetune.cli.local.configuration import Folders
from finetune.cli.local.news import news, run_of
from finetune.cli.local.outcome import Ended
from finetune.cli.local.screen import Screen
from finetune.cli.local.status import take
from finetune.system.files import write_atomically


class Follower:
    """Reads the trainer's newest record whenever it is asked to; `record` is the last valid one."""

    def __init__(self, folders: Folders, screen: Screen, status: FineTuneJobStatus, environment: Mapping[str, str]) -> None:
        """Continue from `status`, which begins this run; `environment` is the trainer's."""
        self._folders, self._screen, self._status, self._environment = folders, screen, status, environment
        self._text: str | None = None
        self._dashboard_shown = False
        self.record: ProgressRecord | None = None
        self._write_status()

    def poll(self) -> None:
        """Take over what the trainer wrote since the last call."""
        self._show_dashboard()
        text = _read(self._folders.progress)
        if text is None or text == self._text:
            return
        self._text = text
        try:
            record = ProgressRecord.model_validate_json(text)
        except ValidationError:
            return  # a record of another version: the next one or the exit code decides
        self._take(record)

    def conclude(self, exit_code: int, *, stopped: bool = False) -> Ended:
        """Return how the run ended; where the trainer could not say it itself, the exit code does.

        `stopped`: the user asked for the end. However the trainer got there, it is not a failure.
        """
        self.poll()
        reported = self.record.outcome if self.record is not None else None
        outcome = reported or (outcome_of_stop(exit_code) if stopped else outcome_of_exit(exit_code))
        if reported is None:
            self._conclude_for_the_trainer(outcome)
        checkpoints = self.record.checkpoints if self.record is not None else []
        run = run_of(self.record) if self.record is not None else None
        return Ended(outcome, reported is not None, max((checkpoint.step for checkpoint in checkpoints), default=None), run)

    def _conclude_for_the_trainer(self, outcome: Outcome) -> None:
        now = datetime.now(UTC)
        attempt = self._status.attempts[-1].number if self._status.attempts else 1
        before = self.record or ProgressRecord(attempt=attempt, sequence=1, time=now, stage=Stage.STARTING)
        last_words = {"sequence": before.sequence + 1, "time": now, "stage": Stage.FINISHED, "outcome": outcome}
        self._take(before.model_copy(update=last_words))

    def _take(self, record: ProgressRecord) -> None:
        for line in news(self.record, record):
            self._screen.say(line)
        self._screen.show(record)
        self.record = record
        self._status = take(self._status, record)
        self._write_status()

    def _write_status(self) -> None:
        with contextlib.suppress(OSError):  # a full disk is the trainer's to report; it needs no second one to fail
            write_atomically(self._folders.output / "status.json", json.dumps(self._status.to_wire(), indent=1) + "\n")

    def _show_dashboard(self) -> None:
        text = None if self._dashboard_shown else _read(self._folders.dashboard)
        if text is None:
            return
        self._dashboard_shown = True
        url = json.loads(text).get("url")
        if url:
            self._screen.say(f"Ray dashboard: {url} ({login_hint(self._environment)})")


def read_status(folders: Folders) -> FineTuneJobStatus:
    """Return what earlier starts in the folder wrote; an empty status where there is none that can be read."""
    try:
        return FineTuneJobStatus.model_validate_json((folders.output / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return FineTuneJobStatus()


def outcome_of_exit(exit_code: int) -> Outcome:
    """Say what an exit code means when the trainer left no last record."""
    if exit_code == EXIT_SUCCESS:
        return Outcome(result=Result.SUCCEEDED, reason="Succeeded", message="the trainer ended normally")
    if exit_code == EXIT_INPUT:
        return Outcome(result=Result.INPUT_INVALID, reason="InputInvalid", message="the trainer refused its input; its last lines say why")
    if exit_code == EXIT_INTERRUPTED:
        return Outcome(result=Result.INTERRUPTED, reason="Interrupted", message=STOPPED)
    if exit_code == 128 + signal.SIGKILL:
        message = "the trainer was killed (signal 9); unless someone killed it, the machine ran out of memory"
        return Outcome(result=Result.FAILED, reason="Killed", message=message)
    how = f"was ended by signal {exit_code - 128}" if exit_code > 128 else f"ended with code {exit_code}"
    return Outcome(result=Result.FAILED, reason="TrainerDied", message=f"the trainer {how} before it could say why")


def outcome_of_stop(exit_code: int) -> Outcome:
    """Say how a run ended that was asked to stop, when the trainer left no last record."""
    if exit_code in (EXIT_SUCCESS, EXIT_INPUT):
        return outcome_of_exit(exit_code)
    killed = exit_code == 128 + signal.SIGKILL
    message = f"{STOPPED}; the trainer was killed before it could report" if killed else STOPPED
    return Outcome(result=Result.INTERRUPTED, reason="Interrupted", message=message)


def login_hint(environment: Mapping[str, str]) -> str:
    """Say how to get into Ray's dashboard, without the token itself: terminals and logs are read by others."""
    if environment.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return "open to everybody on this machine: RAY_AUTH_MODE is disabled"
    if environment.get("RAY_AUTH_TOKEN"):
        place = "the value of RAY_AUTH_TOKEN"
    else:
        home = Path(environment.get("HOME") or Path.home())
        place = f"the content of {environment.get('RAY_AUTH_TOKEN_PATH') or home / '.ray' / 'auth_token'}"
    ray = "ray" if shutil.which("ray") else Path(sys.executable).with_name("ray")
    return f"token: {place}; `{ray} get-auth-token` prints it"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
