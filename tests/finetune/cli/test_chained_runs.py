"""Runs that begin where others ended, as their user starts them: what is said, what is left, and what a kill on the way costs."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from finetune.api.record import EXIT_INPUT
from tests.finetune.cli.wholerun import command, environment, finetune, job_file, wait_until
from tests.trainer.fixtures.learning import learner_with_rows

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("training")]

SHORT, LONG = 20, 240
TRAINING = {
    "globalBatchSize": 8, "microBatchSize": 8, "learningRate": 0.01, "maxSequenceLength": 128, "scheduler": "constant", "warmupRatio": 0,
}  # fmt: skip


def job(folder: Path, name: str, steps: int, **changes: Any) -> Path:
    """Write a job of so many steps that exports both forms."""
    path = job_file(folder, f"{name}-{steps}.yaml", **({"training": {**TRAINING, "maxSteps": steps}, "output": EXPORTS} | changes))
    document = yaml.safe_load(path.read_text())
    document["metadata"]["name"] = name
    path.write_text(yaml.safe_dump(document))
    return path


EXPORTS = {"export": ["adapter", "merged"]}


def read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text())
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("chained"), train=64, test=4)


@pytest.fixture(scope="module")
def first(folder: Path) -> Path:
    """Return the folder of a finished run of the job `first`."""
    done = finetune("run", job(folder, "first", SHORT), "--output", folder / "first")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "first"


def test_a_job_begins_with_the_model_of_an_earlier_one_and_says_so_everywhere(folder: Path, first: Path) -> None:
    path = job(folder, "second", 2, model={"fineTuneJob": {"name": "first"}})
    done = finetune("run", path, "--output", folder / "second", "--job", f"first={first}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"from the job first, folder {first}/model/merged" in done.stdout

    digest = next(export["digest"] for export in read(first, "report.json")["exports"] if export["form"] == "merged")
    made = {"name": "first", "step": SHORT, "digest": digest}
    report, status = read(folder / "second", "report.json"), read(folder / "second", "status.json")
    assert report["model"]["fineTuneJob"] == status["model"]["fineTuneJob"] == made
    assert report["model"]["digest"] == digest
    card = (folder / "second" / "model" / "merged" / "README.md").read_text()
    assert f"It was fine-tuned from the model of an earlier job (job first), with the weights of its step {SHORT}." in card
    # The base of the second is the tuned model of the first.
    assert report["baseline"]["perplexity"]["value"] == pytest.approx(read(first, "report.json")["final"]["perplexity"]["value"], rel=1e-4)


def test_weights_that_the_earlier_job_did_not_export_are_refused(folder: Path, first: Path) -> None:
    report = first / "report.json"
    written = report.read_text()
    digest = next(export["digest"] for export in json.loads(written)["exports"] if export["form"] == "merged")
    report.write_text(written.replace(digest, f"sha256:{'0' * 64}"))
    try:
        path = job(folder, "third", 2, model={"fineTuneJob": {"name": "first"}})
        done = finetune("check", path, "--job", f"first={first}")
    finally:
        report.write_text(written)
    assert done.returncode == EXIT_INPUT
    assert "spec.model.fineTuneJob: the weights in" in done.stderr
    assert "are not those that the job first exported" in done.stderr


def test_a_run_is_continued_in_its_folder_and_after_a_kill_by_the_plain_command(folder: Path, first: Path) -> None:
    short, long = job(folder, "first", SHORT), job(folder, "first", LONG)
    plain = finetune("run", long, "--output", first)
    assert (plain.returncode, "add --continue" in plain.stderr) == (EXIT_INPUT, True)
    same = finetune("run", short, "--output", first, "--continue")
    assert (same.returncode, f"spec.training.maxSteps: {SHORT} is not more than the {SHORT}" in same.stderr) == (EXIT_INPUT, True)
    assert read(first, "run.json")["finished"]

    arguments = command("run", long, "--output", first, "--continue")
    with subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        checkpoints = first / "checkpoints"
        wait_until("at a checkpoint of its own", lambda: (checkpoints / f"step-{2 * SHORT}").exists(), process, first / "trainer.log")
        [supervisor] = psutil.Process(process.pid).children()
        [trainer] = supervisor.children()
        trainer.send_signal(signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
    assert f"resumed from step {SHORT} of the job first" in said
    assert not (first / "report.json").exists()

    again = finetune("run", long, "--output", first)
    assert again.returncode == 0, again.stdout + again.stderr
    report = read(first, "report.json")
    assert (report["training"]["steps"], report["continuedFrom"]) == (LONG, {"name": "first", "step": SHORT})
    assert read(first, "status.json")["continuedFrom"] == {"name": "first", "step": SHORT}
    assert read(first, f"report-{SHORT}.json")["training"]["steps"] == SHORT
    steps = [json.loads(line)["step"] for line in (first / "metrics.jsonl").read_text().splitlines() if "trainLoss" in line]
    assert steps == list(range(1, LONG + 1))

    unbroken = finetune("run", long, "--output", folder / "unbroken")
    assert unbroken.returncode == 0, unbroken.stdout + unbroken.stderr
    adapter = "model/adapter/adapter_model.safetensors"
    assert (first / adapter).read_bytes() == (folder / "unbroken" / adapter).read_bytes()


def test_a_job_continues_another_from_its_folder(folder: Path, first: Path) -> None:
    report = read(first, "report.json")
    steps = report["training"]["steps"]
    path = job(folder, "longer", steps + 20, continueFrom={"fineTuneJob": "first"})
    done = finetune("run", path, "--output", folder / "longer", "--job", f"first={first}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resumed from step {steps} of the job first" in done.stdout
    after = read(folder / "longer", "report.json")
    assert (after["continuedFrom"], after["training"]["steps"]) == ({"name": "first", "step": steps}, steps + 20)
    assert read(first, "report.json") == report
