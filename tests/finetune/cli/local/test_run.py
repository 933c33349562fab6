"""`finetune run` as its user meets it, with a small program in the trainer's place."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetune.api.errors import BadInputError
from finetune.api.record import EXIT_INTERRUPTED
from finetune.cli.local.machine import Machine
from finetune.cli.local.run import RunRequest, run
from tests.finetune.cli.builders import CONFIG_MAP, job, standin, write

# Tests that are run with nohup would hand on that hang-ups are ignored.
PROGRAM = """
import pathlib, signal, sys
from finetune.cli.local.run import RunRequest, run
signal.signal(signal.SIGHUP, signal.SIG_DFL)
job, output, options, *trainer = sys.argv[1:]
sys.exit(run(RunRequest(pathlib.Path(job), pathlib.Path(output), {}, options == "--overwrite"), trainer=trainer))
"""
COMMAND = """
import signal, sys
from finetune.cli import main
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.exit(main())
"""


def finetune(folder: Path, behavior: str = "succeed", *, overwrite: bool = False, verbose: bool = False, timings: bool = False,
             dashboard: bool = False, **changes: Any) -> int:  # fmt: skip
    path = write(folder, CONFIG_MAP, job(**changes))
    request = RunRequest(path, folder / "out", {}, overwrite, verbose, timings=timings, dashboard=dashboard)
    return run(request, Machine(2, 0), standin(behavior))


@contextlib.contextmanager
def running(folder: Path, behavior: str, options: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start `finetune run` as a process and wait until its trainer runs."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(write(folder)), str(folder / "out"), options, *standin(behavior)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_for((folder / "out/pids").exists)
        yield process
        process.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def alive(folder: Path) -> list[int]:
    return [pid for pid in map(int, (folder / "out/pids").read_text().split()) if runs(pid)]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def status(folder: Path) -> Any:
    return json.loads((folder / "out/status.json").read_text())


def test_a_good_run_shows_its_progress_and_ends_with_0(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert finetune(tmp_path) == 0
    lines = capfd.readouterr().out.splitlines()
    out = tmp_path / "out"
    dashboard = [line for line in lines if line.startswith("Ray dashboard: http://127.0.0.1:8265 (")]
    lines.remove(*dashboard)
    lines.remove("a line for the user")  # comes whenever the trainer writes it
    assert lines == [
        f"results go to {out} instead of claim models",
        "resumed from step 1",
        "training",
        "step 2/4 · loss 2.0000 · 50 tokens/s · ETA 0:00:08",
        "checkpoint at step 4 (1.5 MB)",
        "step 4/4 · loss 2.0000 · 50 tokens/s · ETA 0:00:08",
        f"finished; {out} holds model, report.json",
        f"talk to it:       finetune chat {out}",
        f'answer a prompt:  finetune predict {out} --prompt "..."',
    ]
    assert status(tmp_path)["phase"] == "Succeeded"


def test_the_trainers_log_and_the_workers_lines_go_to_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finetune(tmp_path)
    assert "a line of" not in capfd.readouterr().out
    log = (tmp_path / "out/trainer.log").read_text()
    assert "a line of the log" in log
    assert "a line of a worker" in log


def test_the_log_is_shown_on_request(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finetune(tmp_path, verbose=True)
    assert "a line of the log" in capfd.readouterr().out


def test_what_is_logged_right_before_the_end_is_shown_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the trainer's last output on, the command looks again only at its end."""
    monkeypatch.setattr("finetune.cli.local.run.POLL_SECONDS", 60.0)
    assert finetune(tmp_path, "logs_at_the_end", verbose=True) == 0
    lines = capfd.readouterr().out.splitlines()
    end = lines.index("a late line")
    assert lines[end + 1] == "and one without its end"
    assert lines[end + 2].startswith("finished; ")


@pytest.mark.parametrize(
    ("behavior", "shown"),
    [("timed", "  until the report                                0.0      1.5"), ("succeed", "timings: none")],
    ids=["a report with timings", "a report without"],
)
def test_the_budget_of_a_finished_run_is_shown_on_request_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], behavior: str, shown: str
) -> None:
    finetune(tmp_path, behavior)
    capfd.readouterr()
    assert finetune(tmp_path, behavior, timings=True) == 0
    *_, budget, end = capfd.readouterr().out.splitlines()
    assert budget.startswith(shown)
    assert "holds this finished run; nothing was changed" in end


@pytest.mark.parametrize(
    ("behavior", "shown"),
    [("timed", ["  start                             driver        0.0      1.5    1.2"]), ("succeed", []), ("fail", [])],
    ids=["a report with timings", "a report without", "no report"],
)
def test_the_budget_of_a_run_is_shown_on_request_before_the_last_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], behavior: str, shown: list[str]
) -> None:
    finetune(tmp_path, behavior, timings=True)
    lines = capfd.readouterr().out.splitlines()
    end = next(index for index, line in enumerate(lines) if line.startswith(("finished; ", "failed (")))
    if shown:
        assert lines[end - 4 : end - 2] == ["  stage                             in         from s   took s  CPU s", *shown]
        assert lines[end - 1].startswith("  whole ")
    else:
        assert lines[end - 1] == "timings: none; a run has them once it has written its report"


def test_the_trainer_is_told_when_the_command_began(tmp_path: Path) -> None:
    before = time.time()
    finetune(tmp_path, "timed")
    assert before <= float((tmp_path / "out/started").read_text()) <= time.time()


def test_the_trainer_finds_the_config_map_in_a_file(tmp_path: Path) -> None:
    finetune(tmp_path)
    config = json.loads((tmp_path / "out/.finetune/config.json").read_text())
    assert Path(config["data"]["train"][0]["path"]).read_text() == CONFIG_MAP["data"]["train.jsonl"]


@pytest.mark.parametrize("asked", [True, False])
def test_rays_dashboard_is_started_on_request_alone(tmp_path: Path, asked: bool) -> None:
    finetune(tmp_path, dashboard=asked)
    config = json.loads((tmp_path / "out/.finetune/config.json").read_text())
    assert config.get("dashboard", False) is asked


def test_a_finished_run_is_not_touched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finetune(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "lock"}
    assert finetune(tmp_path) == 0
    assert "holds this finished run; nothing was changed; --overwrite trains again" in capfd.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


@pytest.mark.parametrize(
    ("delete", "named"),
    [
        pytest.param(("model", "report.json"), "report.json and model/adapter", id="all results"),
        pytest.param(("model/adapter/adapter_model.safetensors",), "model/adapter", id="weights alone"),
    ],
)
def test_results_that_were_deleted_are_asked_of_the_trainer_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], delete: tuple[str, ...], named: str
) -> None:
    finetune(tmp_path)
    for name in delete:
        path = tmp_path / "out" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert finetune(tmp_path) == 0
    assert f"holds this finished run without {named}; making them from its checkpoints, without training" in capfd.readouterr().out
    assert (tmp_path / "out/model/adapter/adapter_model.safetensors").is_file()
    assert (tmp_path / "out/report.json").is_file()


def test_a_form_that_is_added_to_a_finished_run_is_asked_of_the_trainer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finetune(tmp_path)
    finetune(tmp_path, spec__output__export=["adapter", "merged"])
    assert "holds this finished run without model/merged; making them from its checkpoints" in capfd.readouterr().out


def test_a_finished_run_whose_rows_were_changed_is_not_taken_for_that_run(tmp_path: Path) -> None:
    finetune(tmp_path)
    before = (tmp_path / "out/status.json").read_text()
    with pytest.raises(BadInputError, match=r"^spec\.data\.train\[0\]\.path: line 3 is not JSON; fix it$"):
        finetune(tmp_path, "refuse")
    assert (tmp_path / "out/status.json").read_text() == before


def test_overwrite_trains_again_and_leaves_foreign_files(tmp_path: Path) -> None:
    finetune(tmp_path)
    (tmp_path / "out/notes.txt").touch()
    (tmp_path / "out/metrics.jsonl").write_text("old")
    assert finetune(tmp_path, overwrite=True, spec__training__epochs=3) == 0
    assert not (tmp_path / "out/metrics.jsonl").exists()
    assert (tmp_path / "out/notes.txt").exists()
    assert len(status(tmp_path)["attempts"]) == 1


def test_input_that_is_refused_costs_no_run_that_it_was_to_replace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finetune(tmp_path)
    kept = ("status.json", "run.json", "report.json", ".finetune/config.json", ".finetune/progress.json")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in kept if (tmp_path / "out" / name).exists()}
    assert len(before) >= 3
    with pytest.raises(BadInputError, match="line 3 is not JSON"):
        finetune(tmp_path, "refuse", overwrite=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before
    assert "was left as it was" in capfd.readouterr().out
    assert finetune(tmp_path) == 0
    assert "holds this finished run" in capfd.readouterr().out


def test_another_configurations_output_is_refused_and_left_alone(tmp_path: Path) -> None:
    finetune(tmp_path)
    before = (tmp_path / "out/.finetune/config.json").read_text()
    with pytest.raises(BadInputError, match=r"^spec\.training\.epochs: "):
        finetune(tmp_path, spec__training__epochs=3)
    assert (tmp_path / "out/.finetune/config.json").read_text() == before


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(BadInputError, match=r"^--output: .* is not a folder"):
        finetune(tmp_path)


def test_input_that_the_trainer_refuses_is_reported_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as raised:
        finetune(tmp_path, "refuse")
    assert str(raised.value) == "spec.data.train[0].path: line 3 is not JSON; fix it"
    assert status(tmp_path)["attempts"][0]["reason"] == "SomeReason"


def test_a_failure_is_reported_with_its_cause_and_how_to_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert finetune(tmp_path, "fail") == 1
    assert capfd.readouterr().out.splitlines()[-4:] == [
        "failed (SomeReason): the loss is not a number",
        "  at step 3",
        f"the full log is in {tmp_path}/out/trainer.log",
        f"the checkpoint at step 2 is kept; fix the cause, then continue with: finetune run {tmp_path}/job.yaml --output {tmp_path}/out",
    ]


def test_a_trainer_that_is_killed_is_a_failure_with_its_last_lines_and_a_likely_cause(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert finetune(tmp_path, "killed") == 1
    shown = capfd.readouterr().out
    assert "  the last words\n" in shown
    assert "ran out of memory" in shown
    assert status(tmp_path)["phase"] == "Failed"
    assert not list((tmp_path / "out" / ".finetune" / "data").glob("start-*")), "a copy of the rows would stay"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "sigterm", "hang-up"])
def test_a_stopped_run_says_how_to_go_on_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "wait") as process:
        process.send_signal(number)
        shown, _ = process.communicate(timeout=20)
    assert process.returncode == EXIT_INTERRUPTED
    assert f"interrupted after the checkpoint at step 3; continue with: finetune run {tmp_path}/job.yaml --output {tmp_path}/out" in shown
    assert alive(tmp_path) == []
    assert status(tmp_path)["attempts"][0]["outcome"] == "Interrupted"


def test_a_second_signal_ends_a_trainer_that_does_not_listen(tmp_path: Path) -> None:
    with running(tmp_path, "stubborn") as process:
        process.send_signal(signal.SIGINT)
        wait_for((tmp_path / "out/asked").exists)
        assert process.stdout
        assert any(line.startswith("stopping; ") for line in process.stdout)
        assert alive(tmp_path)
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=20)
    assert process.returncode == EXIT_INTERRUPTED
    assert "interrupted before the first checkpoint; continue with: finetune run " in shown
    assert "failed" not in shown
    assert "memory" not in shown
    assert status(tmp_path)["attempts"][0]["outcome"] == "Interrupted"
    assert alive(tmp_path) == []


@pytest.mark.parametrize("behavior", ["wait", "stubborn"])
def test_when_the_command_is_killed_nothing_of_the_run_is_left_and_the_folder_is_free(tmp_path: Path, behavior: str) -> None:
    with running(tmp_path, behavior) as process:
        [trainer, *_] = alive(tmp_path)
        temporary = Path(psutil.Process(trainer).environ()["RAY_TMPDIR"])
        assert temporary.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: alive(tmp_path) == [])
        wait_for(lambda: not temporary.exists())
    with pytest.raises(BadInputError):
        finetune(tmp_path, "refuse")
    assert [attempt["reason"] for attempt in status(tmp_path)["attempts"]] in (["Killed", "SomeReason"], ["SomeReason", "SomeReason"])


def test_the_trainer_has_its_own_session(tmp_path: Path) -> None:
    with running(tmp_path, "wait") as process:
        assert all(os.getsid(pid) != os.getsid(process.pid) for pid in alive(tmp_path))


def test_a_replacement_that_is_interrupted_in_its_checks_leaves_the_run_and_says_how_to_replace_it(tmp_path: Path) -> None:
    finetune(tmp_path)
    before = (tmp_path / "out/run.json").read_text()
    with running(tmp_path, "check_without_end", "--overwrite") as process:
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=20)
    assert process.returncode == EXIT_INTERRUPTED
    assert f"continue with: finetune run {tmp_path}/job.yaml --output {tmp_path}/out --overwrite\n" in shown
    assert f"the run in {tmp_path}/out was left as it was" in shown
    assert (tmp_path / "out/run.json").read_text() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "sigterm", "hang-up"])
def test_a_signal_while_the_folder_is_waited_for_ends_the_command_in_words(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "out/.finetune").mkdir(parents=True)
    with (tmp_path / "out/.finetune/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("999999999")
        lock.flush()
        command = [sys.executable, "-W", "ignore", "-c", COMMAND, "run", str(write(tmp_path)), "--output", str(tmp_path / "out")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_for(lambda: waits_for_a_lock(process.pid, tmp_path))
            process.send_signal(number)
            _, complaint = process.communicate(timeout=20)
    assert process.returncode == EXIT_INTERRUPTED
    assert f"continue with: finetune run {tmp_path}/job.yaml --output {tmp_path}/out\n" in complaint


@pytest.mark.parametrize("kind", ["dumb", "xterm"], ids=["lines", "a moving bar"])
def test_a_terminal_that_is_closed_while_the_run_talks_changes_no_exit_code(tmp_path: Path, kind: str) -> None:
    """The other end of a pseudo-terminal goes: every write fails from then on, as when a window is closed."""
    master, slave = os.openpty()
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(write(tmp_path)), str(tmp_path / "out"), "", *standin("wait")]
    environment = os.environ | {"TERM": kind}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment) as process:
        os.close(slave)
        wait_for((tmp_path / "out/pids").exists)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == EXIT_INTERRUPTED
    assert alive(tmp_path) == []
    assert status(tmp_path)["attempts"][0]["outcome"] == "Interrupted"


def waits_for_a_lock(pid: int, folder: Path) -> bool:
    return any(file.path == str(folder / "out/.finetune/lock") for file in psutil.Process(pid).open_files())
