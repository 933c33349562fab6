"""A run is stopped while its ranks are busy with something that no stop reaches: the command ends all the same."""

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from finetune.api.record import EXIT_INTERRUPTED
from tests.finetune.cli.wholerun import command, environment, job_file, wait_until
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import write_rows

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]

ENDED_WITHIN_SECONDS = 60.0
"""Far less than what is being measured takes, far more than a busy machine needs to end some processes."""
LONG = {"generation": {"maxNewTokens": 300, "samples": 400}}
"""Minutes of generation."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    tiny_learner(folder / "model")
    write_rows(folder / "train.jsonl", 64)
    write_rows(folder / "test.jsonl", 400, offset=100)
    return folder


def stage(out: Path) -> str:
    try:
        return str(json.loads((out / ".finetune/progress.json").read_text())["stage"])
    except FileNotFoundError:
        return ""


def follows_a_log(process: psutil.Process) -> bool:
    """Return whether it copies a rank's log into the output: it steps back for the others, and ends half a second after its rank."""
    try:
        return any("trainer.logs.following" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return True


def interrupted_while(wanted: str, folder: Path, out: Path, number: signal.Signals, *, workers: int = 2, **changes: object) -> list[str]:
    """Run a job, send a signal when a stage has begun, see that all ends, and return what was said. One worker runs without Ray."""
    training = {"maxSteps": 4, "globalBatchSize": 8, "microBatchSize": 1, "maxSequenceLength": 128}
    path = job_file(folder, training=training, distributed={"workers": workers, "deepspeed": {"zeroStage": 2}}, **changes)
    with subprocess.Popen(command("run", path, "--output", out), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        wait_until(f"at {wanted}", lambda: stage(out) == wanted, process, out / "trainer.log")
        below = [child for child in psutil.Process(process.pid).children(recursive=True) if not follows_a_log(child)]
        assert {child.nice() for child in below} == {psutil.Process(process.pid).nice()}, "Ray's workers are as nice as the command"
        process.send_signal(number)
        said, _ = process.communicate(timeout=ENDED_WITHIN_SECONDS)
    assert process.returncode == EXIT_INTERRUPTED, said
    assert [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert not list((out / ".finetune/data").glob("start-*")), "a copy of the rows would stay"
    attempt = json.loads((out / "status.json").read_text())["attempts"][-1]
    assert (attempt["outcome"], attempt["reason"]) == ("Interrupted", "Interrupted")
    assert "failed" not in said
    assert "memory" not in said
    return said.splitlines()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_whose_base_model_is_being_measured_ends_at_the_first_signal(folder: Path, workers: int) -> None:
    out = folder / f"baseline-{workers}"
    full = {"method": {"full": {}}, "output__export": ["merged"]}
    said = interrupted_while("EvaluatingBaseline", folder, out, signal.SIGINT, workers=workers, evaluation=LONG, **full)
    assert said[-1] == f"interrupted before the first checkpoint; continue with: finetune run {folder}/job.yaml --output {out}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        pytest.param("EvaluatingBaseline", signal.SIGTERM, id="base, sigterm"),
        pytest.param("EvaluatingFinal", signal.SIGTERM, id="tuned, sigterm"),
        pytest.param("EvaluatingFinal", signal.SIGHUP, id="tuned, hang-up"),
    ],
)
def test_a_run_that_is_being_measured_after_training_ends_at_the_first_signal_and_goes_on_there(
    folder: Path, wanted: str, number: signal.Signals
) -> None:
    out = folder / f"{wanted}-{number.name}"
    # The base model is measured first, in full where the tuned one is waited for.
    said = interrupted_while(wanted, folder, out, number, evaluation={"generation": {"maxNewTokens": 100, "samples": 300}})
    assert said[-1].startswith("interrupted after the checkpoint at step 4; continue with: finetune run ")
    assert (out / "checkpoints/step-4/manifest.json").is_file()
