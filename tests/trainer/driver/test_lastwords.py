"""What a rank wrote that was killed: in the output, and at the end of the driver's log."""

import logging
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError

from finetune.api.record import LOG_LINES_MAX
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.learning import learner_with_rows
from tests.trainer.fixtures.programs import config, finish, kill_tree, record, start, steps_logged, wait_until
from trainer.driver.lastwords import last_words_of
from trainer.logs.following import END_OF_LOG

ENDED = f"{END_OF_LOG} rank 1 of 2, 2026-11-27T21:00:00Z ---"


def killed(*ranks: int) -> WorkerGroupError:
    """What Ray Train raises when the processes of ranks are gone."""
    died = ActorDiedError(ActorDiedErrorContext(error_message="its process has died", class_name="RayTrainWorker", actor_id=b"\1" * 16))
    return WorkerGroupError("failed", {rank: WorkerHealthCheckFailedError("health check", died) for rank in ranks})


def job(folder: Path, **changes: object) -> TrainConfig:
    return train_config(folder, output={"directory": str(folder / "out")}, **changes)


def keep(folder: Path, rank: int, *lines: str) -> Path:
    path = folder / "out" / "logs" / "attempt-1" / f"rank-{rank}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_the_last_lines_of_a_rank_that_died_are_told_and_end_the_drivers_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(tmp_path, 0, "of a rank that lives")
    keep(tmp_path, 1, *(f"line {number}" for number in range(40)), ENDED)
    told = last_words_of(job(tmp_path), killed(1))
    assert told == [f"line {number}" for number in range(20, 40)]
    assert len(told) == LOG_LINES_MAX
    first, *lines = caplog.messages[-1].splitlines()
    assert first == "the log of rank 1 ends with:"
    assert [line.strip() for line in lines] == told


def test_of_many_ranks_that_died_some_are_shown_and_the_logs_of_all_are_pointed_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for rank in range(8):
        keep(tmp_path, rank, *[f"of {rank}"] * 40, ENDED)
    on_cluster = job(tmp_path, progress={"namespace": "default", "configMap": "progress"})
    assert last_words_of(on_cluster, killed(*range(2, 8)))[0] == "of 2"
    said = "\n".join(caplog.messages).splitlines()
    assert [line for line in said if "ends with" in line] == [f"the log of rank {rank} ends with:" for rank in (2, 3, 4)]
    assert said[-1] == "the logs of ranks are in the folder logs/attempt-1 of the output"


def test_where_no_rank_has_a_log_none_are_pointed_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (keep(tmp_path, 1).parent / "driver.log").touch()
    on_cluster = job(tmp_path, progress={"namespace": "default", "configMap": "progress"})
    last_words_of(on_cluster, ValueError("x"))
    assert [message for message in caplog.messages if "are in the folder" in message] == [
        "the logs of ranks are in the folder logs/attempt-1 of the output"
    ]
    caplog.clear()
    keep(tmp_path, 1).unlink()
    last_words_of(on_cluster, ValueError("x"))
    assert caplog.messages == []


def test_what_makes_a_terminal_act_is_no_part_of_the_record(tmp_path: Path) -> None:
    assert last_words_of(job(tmp_path), ValueError("a\x1b[31m\x07b\u202ec\x9bd"))[-1] == "ValueError: a b c d"


def test_of_a_rank_that_raised_an_error_its_traceback_is_told_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIRROR_PASSWORD", "korrekt-pferd")
    trace = "".join(f'  File "a.py", line {number}\n' for number in range(40)) + "ValueError: 401 for korrekt-pferd " + "x" * 500
    raised = UserExceptionWithTraceback(ValueError("401 for korrekt-pferd"), trace)
    told = last_words_of(job(tmp_path), WorkerGroupError("failed", {0: raised}))
    assert len(told) == LOG_LINES_MAX
    assert told[-2] == '  File "a.py", line 39'
    assert told[-1].startswith("ValueError: 401 for [redacted] xxx")
    assert max(map(len, told)) == 240
    assert caplog.messages == [], "it is in the driver's log already"


def test_of_a_driver_that_failed_its_traceback_is_told(tmp_path: Path) -> None:
    def work() -> None:
        raise OSError(28, "No space left on device")

    try:
        work()
    except OSError as error:
        told = last_words_of(job(tmp_path), error)
    assert told[0] == "Traceback (most recent call last):"
    assert told[-1] == "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize("hangs", [True, False], ids=["a log that hangs", "no log"])
def test_a_log_that_cannot_be_read_delays_the_end_by_seconds_only(tmp_path: Path, caplog: pytest.LogCaptureFixture, *, hangs: bool) -> None:
    if hangs:
        path = keep(tmp_path, 1)
        path.unlink()
        os.mkfifo(path)  # whoever opens it to read waits for a writer
    caplog.set_level(logging.ERROR)
    since = time.monotonic()
    assert last_words_of(job(tmp_path), killed(1), patience_seconds=0.2)[0] == "health check"
    assert time.monotonic() - since < 5
    assert caplog.messages == []


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("training")
def test_a_rank_that_is_killed_is_named_and_its_log_and_those_of_the_others_are_in_the_output(tmp_path: Path) -> None:
    folder = learner_with_rows(tmp_path, train=16, test=10)
    data = {"train": [{"path": str(folder / "train.jsonl")}], "test": [{"path": str(folder / "test.jsonl")}]}
    path = config(folder, "out", steps=4000, zero_stage=None, data=data, checkpoint={"everySteps": 3999, "keep": 1})
    process, logs = start(path), folder / "out" / "logs" / "attempt-1"
    try:
        wait_until(lambda: steps_logged(folder / "out") > 1 and (logs / "rank-1.log").is_file(), process, path)
        pid = int(re.match(r"--- rank 1 of 2 of attempt 1, process (\d+) on ", (logs / "rank-1.log").read_text())[1])
        assert pid in [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        os.kill(pid, signal.SIGKILL)
        finish(process, path, expected=1)
    finally:
        if process.poll() is None:
            kill_tree(process)
    outcome = record(folder, "out")["outcome"]
    assert outcome["message"].startswith("rank 1 died: its process was killed, or it crashed.")
    assert any("Z rank 1: first step" in line for line in outcome["lastLines"])
    of_others, of_killed = ((logs / f"rank-{rank}.log").read_text() for rank in (0, 1))
    assert "Z rank 1: first step\n" in of_killed
    assert of_killed.splitlines()[-1].startswith(END_OF_LOG)
    assert "step 1/4000" in of_others
    end = path.with_suffix(".log").read_text().splitlines()[-20:]
    assert any("the log of rank 1 ends with:" in line for line in end)
    assert any("Z rank 1: " in line for line in end)
