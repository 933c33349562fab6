"""`finetune` with the trainer itself, on a real local Ray: what a user types, sees and finds, and what is left when it is killed."""

import json
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.finetune.cli.wholerun import RUN_SECONDS, command, environment, finetune, job_file
from tests.trainer.fixtures.learning import learner_with_rows
from tests.trainer.fixtures.rows import write_rows

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]

REPORTED_WITHIN_SECONDS = 15.0
"""What a user waits for words about bad input, at the most. Counted in time of the processor: the tests' machine may be busy."""
REPORTED_WITHIN_WALL_SECONDS = 60.0
"""The same by the clock, wide enough for a busy machine and too narrow for waiting on a lock, a host or a time-out."""

ON_RAY = {"distributed": {"workers": 2}}


def processor_seconds() -> float:
    """Return how much time of the processor the programs that this process started and waited for have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("laptop"), train=64, test=6)


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        pytest.param('{"prompt": "a", "completion": "b"}\n{"prompt": \n', {}, ["spec.data.train[0]", "line 2"], id="a broken line"),
        pytest.param('{"question": "a"}\n', {}, ["spec.data.train[0].columns.prompt", "question"], id="a missing column"),
        pytest.param("", {}, ["spec.data.train[0]", "rows.jsonl"], id="an empty set"),
        pytest.param(None, {"model": {"path": "empty"}}, ["spec.model.path", "empty"], id="a model without weights"),
        pytest.param("", ON_RAY, ["spec.data.train[0]", "rows.jsonl"], id="an empty set, while Ray comes up"),
    ],
)
def test_bad_input_ends_with_2(folder: Path, rows: str | None, changes: dict[str, object], words: list[str]) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text(rows or "")
    data = {} if rows is None else {"data": {"train": [{"path": "rows.jsonl"}]}}
    path = job_file(folder, **data, **changes)
    before = processor_seconds()
    done = finetune("run", path, "--output", folder / "refused", "--overwrite", seconds=REPORTED_WITHIN_WALL_SECONDS)
    assert processor_seconds() - before < REPORTED_WITHIN_SECONDS
    assert done.returncode == 2, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr
    assert "Ray" not in done.stdout + done.stderr


def test_a_killed_run_leaves_no_process_goes_on_where_it_was_and_is_known_when_it_is_finished(folder: Path) -> None:
    path, out = job_file(folder, **ON_RAY), folder / "out"
    with subprocess.Popen(command("run", path, "--output", out), env=environment(), stdout=subprocess.DEVNULL) as process:
        wait_for_a_checkpoint(process, out)
        whole_tree = psutil.Process(process.pid).children(recursive=True)
        assert any("raylet" in child.name() for child in whole_tree), "Ray runs below the command"
        process.send_signal(signal.SIGKILL)
    _, left = psutil.wait_procs(whole_tree, timeout=30)
    assert not left, "nothing of the run outlives the command"

    again = finetune("run", path, "--output", out)
    assert again.returncode == 0, again.stdout + again.stderr
    [line] = [line for line in again.stdout.splitlines() if line.startswith("resumed from step ")]
    assert 0 < int(line.split()[-1]) < 300
    assert "perplexity" in again.stdout

    # Nothing that a finished run left is touched, also not where its folder, and that of its files, was moved.
    moved = folder.rename(folder.with_name("moved"))
    try:
        before = {file: file.stat().st_mtime_ns for file in (moved / "out").rglob("*") if file.is_file() and file.name != "lock"}
        known = finetune("run", moved / "job.yaml", "--output", moved / "out")
        assert known.returncode == 0, known.stdout + known.stderr
        assert "holds this finished run; nothing was changed" in known.stdout
        assert {file: file.stat().st_mtime_ns for file in before} == before
        assert_results_are_made_again(moved)
        write_rows(moved / "train.jsonl", 63)
        other = finetune("run", moved / "job.yaml", "--output", moved / "out")
        assert other.returncode == 2
        assert other.stderr.startswith("spec.data.train: holds something else than in the run that ")
    finally:
        moved.rename(folder)


def assert_results_are_made_again(moved: Path) -> None:
    """Delete a finished run's model, and see it made from the checkpoints, in more forms than before, without training."""
    out = moved / "out"
    report, metrics = json.loads((out / "report.json").read_text()), (out / "metrics.jsonl").read_bytes()
    shutil.rmtree(out / "model")
    claim = {"persistentVolumeClaim": {"claimName": "models"}, "export": ["adapter", "merged"]}
    again = finetune("run", job_file(moved, output=claim, **ON_RAY), "--output", out)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "holds this finished run without model/adapter and model/merged; making them from its checkpoints" in again.stdout
    made = json.loads((out / "report.json").read_text())
    assert [entry["form"] for entry in made["exports"]] == ["adapter", "merged"]
    assert (made["final"], made["training"]) == (report["final"], report["training"])
    assert (out / "metrics.jsonl").read_bytes() == metrics
    exported = finetune("export", out, "--merged", "--dtype", "bfloat16", "--to", moved / "half")
    assert exported.returncode == 0, exported.stdout + exported.stderr
    assert f"wrote {moved / 'half' / 'merged'} (bfloat16; " in exported.stdout
    refused = finetune("export", out, "--merged")
    assert (refused.returncode, refused.stderr.partition(";")[0]) == (2, f"DIR: {out / 'model' / 'merged'} exists")


def wait_for_a_checkpoint(process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while not list((out / "checkpoints").glob("step-*")):
        assert process.poll() is None, (out / "trainer.log").read_text()[-4000:]
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.05)
