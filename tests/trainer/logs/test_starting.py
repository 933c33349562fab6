"""Real processes whose logs are kept: killed ones, ones whose output takes nothing, ones that hold secrets."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from finetune.api.trainconfig import DerivedRun
from tests.builders import train_config
from tests.repository import REPOSITORY
from trainer.logs.following import END_OF_LOG
from trainer.logs.kept import FILE_MAX_BYTES
from trainer.logs.starting import log_of, logs_folder

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are followed through /proc"),
]

PROGRAM = """
import os, sys, signal
from finetune.api.trainconfig import TrainConfig
from trainer.logs.starting import keep_log
print("before it is kept", flush=True)
assert keep_log(TrainConfig.model_validate_json(sys.argv[1]), "rank-1", "rank 1 of 2")
print("kept", file=sys.stderr, flush=True)
{rest}
"""
KILLED = "print('the last words', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program that has its log kept and then does `rest`; its followers end with the test."""

    def started(rest: str, output: Path = tmp_path / "out", **environment: str) -> subprocess.Popen[bytes]:
        config = train_config(tmp_path, output={"directory": str(output)})
        with (tmp_path / "stdout").open("ab") as out, (tmp_path / "stderr").open("ab") as err:
            return subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(rest=rest), config.model_dump_json(by_alias=True)],
                stdout=out, stderr=err, env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
            )  # fmt: skip

    yield started
    for follower in followers(tmp_path):
        follower.kill()
        follower.wait()


def followers(folder: Path) -> list[psutil.Process]:
    """Return the followers that write below a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("trainer.logs.following" in word for word in words) and any(word.startswith(str(folder)) for word in words):
            found.append(process)
    return found


def log_when_ended(folder: Path) -> str:
    """Return the kept log once its follower has written the end of it and has gone."""
    deadline, log = time.monotonic() + 60, folder / "out" / "logs" / "attempt-1" / "rank-1.log"
    while not log.exists() or END_OF_LOG not in log.read_text() or followers(folder):
        assert time.monotonic() < deadline, "the follower did not end"
        time.sleep(0.05)
    return log.read_text()


def test_a_process_that_is_killed_leaves_all_that_it_wrote(tmp_path: Path, start: Start) -> None:
    assert start(KILLED).wait(60) == -signal.SIGKILL
    first, *lines, last = log_when_ended(tmp_path).splitlines()
    assert first.startswith("--- rank 1 of 2 of attempt 1, process ")
    assert sorted(lines) == ["before it is kept", "kept", "the last words"]
    assert last.startswith("--- end of the log of rank 1 of 2, ")


def test_a_process_that_crashes_below_python_leaves_where_it_was(tmp_path: Path, start: Start) -> None:
    start("import faulthandler; faulthandler.enable(); faulthandler._sigsegv()").wait(60)
    assert "Fatal Python error: Segmentation fault" in log_when_ended(tmp_path)


def test_no_secret_of_the_environment_or_of_an_address_is_in_any_file_of_the_output(tmp_path: Path, start: Start) -> None:
    secrets = {"HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUv", "MIRROR_PASSWORD": "korrekt-pferd", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7"}
    rest = (
        "print(dict(os.environ)); print(*os.environ.values());"
        "print('GET https://me:pa55@h.example/x?X-Amz-Signature=f00dcafe&X-Amz-Expires=60');" + KILLED
    )
    start(rest, **secrets).wait(60)
    assert "X-Amz-Expires=60" in log_when_ended(tmp_path)
    content = "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert [secret for secret in [*secrets.values(), "pa55", "f00dcafe"] if secret in content] == []


def test_a_process_that_writes_without_end_leaves_a_file_of_bounded_size_with_its_last_words(tmp_path: Path, start: Start) -> None:
    start("[print('x' * 60) for _ in range(30_000)];" + KILLED).wait(60)
    log = log_when_ended(tmp_path)
    assert len(log) <= FILE_MAX_BYTES
    assert "before it is kept\n" in log
    assert "bytes left out]\n" in log
    assert "the last words\n" in log[-200:]


def test_an_output_that_takes_no_log_is_said_once_and_changes_nothing(tmp_path: Path, start: Start) -> None:
    (tmp_path / "out").write_text("a file")
    assert start("import time; time.sleep(1.5); print('done', flush=True)").wait(60) == 0
    deadline = time.monotonic() + 60
    while "cannot write logs" not in (tmp_path / "stderr").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "stderr").read_text().count("cannot write logs to the output; training continues: ") == 1
    assert (tmp_path / "stdout").read_text().endswith("done\n")


def test_an_output_that_hangs_holds_up_nothing(tmp_path: Path, start: Start) -> None:
    (tmp_path / "out" / "logs" / "attempt-1").mkdir(parents=True)
    os.mkfifo(tmp_path / "out" / "logs" / "attempt-1" / "rank-1.log")  # whoever opens it to write waits for a reader
    assert start("print('done', flush=True)").wait(60) == 0
    assert (tmp_path / "stdout").read_text().endswith("done\n")
    assert len(followers(tmp_path)) == 1, "it waits for the output"


def test_output_to_a_pipe_is_not_kept_and_that_is_no_error(tmp_path: Path) -> None:
    program = "from finetune.api.trainconfig import TrainConfig; import sys; from trainer.logs.starting import keep_log;"
    program += "print(keep_log(TrainConfig.model_validate_json(sys.argv[1]), 'driver', 'the driver'))"
    config = train_config(tmp_path, output={"directory": str(tmp_path / "out")})
    command = [sys.executable, "-c", program, config.model_dump_json(by_alias=True)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert not (tmp_path / "out").exists()


def test_a_further_run_of_a_job_writes_to_the_folder_of_the_jobs_own(tmp_path: Path) -> None:
    config = train_config(tmp_path, output={"directory": str(tmp_path / "out")})
    further = config.model_copy(update={
        "output": config.output.model_copy(update={"directory": str(tmp_path / "out" / "ablations" / "dropout")}),
        "derived": DerivedRun(name="ablation dropout", main=str(tmp_path / "out")),
    })  # fmt: skip
    assert logs_folder(further) == logs_folder(config) == tmp_path / "out" / "logs"
    assert log_of(further, "rank-0") == tmp_path / "out" / "logs" / "attempt-1" / "rank-0.log"
