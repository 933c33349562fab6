"""Whoever of a run dies, and however, no process of it is left."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from finetune.system.scratch import DATA_VARIABLE, FOLDER_VARIABLE

SUPERVISOR = [sys.executable, "-m", "finetune.cli.local.supervisor"]
DAEMON = """
import os, pathlib, signal, sys, time
def daemon(path, ignore):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    if ignore:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(path).write_text(str(os.getpid()))
    time.sleep(60)
folder = pathlib.Path(sys.argv[1])
daemon(folder / "polite", False)
daemon(folder / "rude", True)
def stop(*_):
    (folder / "stopped").touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
(folder / "program").write_text(str(os.getpid()))
time.sleep(float(sys.argv[2]))
sys.exit(7)
"""
"""A program that starts daemons as Ray does: forked twice, in sessions of their own, one of them deaf to SIGTERM."""


@contextlib.contextmanager
def supervised(folder: Path, seconds: float = 60, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*SUPERVISOR, sys.executable, "-W", "ignore", "-c", DAEMON, str(folder), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=os.environ | variables) as process:
        wait_for(lambda: all((folder / name).is_file() and (folder / name).read_text() for name in ("polite", "rude", "program")))
        try:
            yield process
        finally:
            for pid in pids(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()


def pids(folder: Path) -> list[int]:
    return [int((folder / name).read_text()) for name in ("polite", "rude", "program")]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: "object", seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_the_programs_exit_code_is_passed_on_and_its_daemons_end(tmp_path: Path) -> None:
    with supervised(tmp_path, seconds=0.5) as process:
        assert process.wait(15) == 7
        assert not any(runs(pid) for pid in pids(tmp_path))


def test_a_request_to_stop_reaches_the_program_alone_which_may_take_its_time(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        assert process.stdin
        process.stdin.write(b"t")
        process.stdin.flush()
        assert process.wait(15) == 3
        assert (tmp_path / "stopped").exists()
        assert not any(runs(pid) for pid in pids(tmp_path))


def test_a_request_to_kill_ends_everything_at_once(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        assert process.stdin
        process.stdin.write(b"k")
        process.stdin.flush()
        assert process.wait(2) == 128 + signal.SIGKILL
        assert not (tmp_path / "stopped").exists()
        assert not any(runs(pid) for pid in pids(tmp_path))


def test_when_the_starter_is_gone_everything_ends(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        assert process.stdin
        process.stdin.close()
        process.wait(15)
        assert not any(runs(pid) for pid in pids(tmp_path))


def test_when_the_starter_is_gone_no_copy_of_the_rows_is_left(tmp_path: Path) -> None:
    for folder in ("run/finetune-data-1", "data/start-1/rows", "data/tokens"):
        (tmp_path / folder).mkdir(parents=True)
    variables = {FOLDER_VARIABLE: str(tmp_path / "run"), DATA_VARIABLE: str(tmp_path / "data")}
    with supervised(tmp_path, **variables) as process:
        assert process.stdin
        process.stdin.close()
        process.wait(15)
    assert not (tmp_path / "run").exists()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tokens"]


def test_sigterm_to_the_supervisor_stops_the_program_in_order(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        process.terminate()
        assert process.wait(15) == 3


def test_the_program_does_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        program = pids(tmp_path)[2]
        assert runs(program)
        process.kill()
        process.wait(5)
        wait_for(lambda: not runs(program), 5)


def test_a_program_that_was_killed_is_distinguished_from_one_that_failed(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        os.kill(pids(tmp_path)[2], signal.SIGKILL)
        assert process.wait(15) == 128 + signal.SIGKILL


@pytest.mark.slow
def test_a_real_ray_dies_with_the_one_who_started_it(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time, ray\n"
        "ray.init(num_cpus=1, include_dashboard=True, log_to_driver=False)\n"
        "@ray.remote\n"
        "def work():\n"
        "    time.sleep(100)\n"
        "ref = work.remote()\n"
        "time.sleep(3)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "ray.get(ref)\n"
    )
    ready = tmp_path / "ready"
    command = [*SUPERVISOR, sys.executable, "-W", "ignore", "-c", program, str(ready)]
    short = tempfile.mkdtemp(prefix="ft-")  # Ray's sockets lie there, and their names may have 107 characters
    environment = dict(os.environ, RAY_TMPDIR=short, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a-token-of-the-test-alone-0123456789")
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_for(ready.exists, 90)
        below = psutil.Process(process.pid).children(recursive=True)
        assert {"raylet", "gcs_server"} <= {child.name() for child in below}
        assert process.stdin
        process.stdin.close()
        process.wait(20)
        assert [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    shutil.rmtree(short)
