"""A job that learns a corpus before its task: stopped and killed in either run it goes on there, and its base is the untouched model."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetune.api.record import EXIT_FAILURE, EXIT_INTERRUPTED
from finetune.api.results import ResultsFolder
from tests.finetune.cli.wholerun import command, environment, finetune, job_file, wait_until
from tests.trainer.fixtures.encoders import save_encoder
from tests.trainer.fixtures.learning import learner_with_rows
from trainer.evaluation.measured import measured_in

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("training")]

SETTINGS: dict[str, Any] = {
    "training": {"maxSteps": 80, "globalBatchSize": 8, "microBatchSize": 8, "learningRate": 0.01, "maxSequenceLength": 128},
    "checkpoint": {"everySteps": 20},
}
WORDS = ("valve", "pump", "rotor", "stator", "flange")


def texts(path: Path, count: int, words: tuple[str, ...] = WORDS) -> Path:
    path.write_text(
        "\n\n".join(f"{number} " + " ".join(words[(number * step) % len(words)] for step in range(1, 7)) for number in range(count))
    )
    return path


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def stopped_at(job: Path, out: Path, checkpoint: str, number: int) -> tuple[int, str]:
    """Run the job until a checkpoint is there, send its trainer a signal, and return exit code and output."""
    with subprocess.Popen(command("run", job, "--output", out), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        wait_until(f"at {checkpoint}", (out / checkpoint).is_dir, process, out / "trainer.log")
        [supervisor] = psutil.Process(process.pid).children()
        [trainer] = supervisor.children()
        os.kill(process.pid if number == signal.SIGTERM else trainer.pid, number)
        said, _ = process.communicate(timeout=120)
    return process.returncode, said


@dataclass(frozen=True)
class Stopped:
    """A job of a causal model that was stopped in its corpus, killed there and in its task, and then went on to its end."""

    folder: Path
    ends: list[int]
    while_learned: str
    """What was printed from the corpus on, before the kill in it."""
    stage_written: list[int]
    """When the report of the corpus had been written, at the kill in the task and at the end."""
    last: str

    @property
    def out(self) -> Path:
        return self.folder / "out"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = learner_with_rows(tmp_path_factory.mktemp("corpus"), train=64, test=30)
    texts(folder / "corpus.txt", 120)
    texts(folder / "general.txt", 20, ("cat", "dog", "tree"))
    section = {"corpus": {"sources": [{"path": "corpus.txt"}], "maxSteps": 200}, "generalEvaluation": [{"path": "general.txt"}]}
    job, out = job_file(folder, **SETTINGS, domainAdaptation=section), folder / "out"
    ended = [
        stopped_at(job, out, "adaptation/checkpoints/step-20", signal.SIGTERM),
        stopped_at(job, out, "adaptation/checkpoints/step-80", signal.SIGKILL),
        stopped_at(job, out, "checkpoints/step-20", signal.SIGKILL),
    ]
    report = out / "adaptation" / "report.json"
    before = report.stat().st_mtime_ns
    again = finetune("run", job, "--output", out)
    assert again.returncode == 0, again.stdout + again.stderr
    ends = [code for code, _ in ended]
    return Stopped(folder, ends, ended[1][1], [before, report.stat().st_mtime_ns], again.stdout)


def test_it_goes_on_where_it_was_and_what_is_done_is_not_done_again(stopped: Stopped) -> None:
    assert stopped.ends == [EXIT_INTERRUPTED, EXIT_FAILURE, EXIT_FAILURE]
    stage, main = read(stopped.out / "adaptation" / "report.json"), read(stopped.out / "report.json")
    assert stage["training"]["resumedFromStep"] >= 80
    assert main["training"]["resumedFromStep"] >= 20
    assert stopped.stage_written[0] == stopped.stage_written[1]
    assert "domain corpus: training" not in stopped.last.splitlines()
    assert "training" in stopped.last.splitlines()
    assert read(stopped.out / "status.json")["progress"]["step"] == 80


def test_the_task_begins_with_the_exported_model_of_the_corpus(stopped: Stopped) -> None:
    stage, main = read(stopped.out / "adaptation" / "report.json"), read(stopped.out / "report.json")
    [exported] = stage["exports"]
    assert exported["form"] == "merged"
    assert main["model"]["digest"] == exported["digest"] != stage["model"]["digest"]
    assert main["model"]["adaptedFrom"] == str(stopped.folder / "model")
    assert any("has to be kept (adaptation/model/merged" in warning for warning in main["warnings"])

    alone, out = {"model": {"path": "out/adaptation/model/merged"}}, stopped.folder / "alone"
    assert finetune("run", job_file(stopped.folder, "alone.yaml", **SETTINGS, **alone), "--output", out).returncode == 0
    ours, apart = (measured_in(ResultsFolder(folder)) for folder in (stopped.out, out))
    assert ours is not None
    assert apart is not None
    assert ours.tuned.to_state() == apart.tuned.to_state(), "bit for bit a job that names that model"
    assert ours.base.to_state() != apart.base.to_state()


def test_the_base_is_the_untouched_model(stopped: Stopped) -> None:
    plain, out = job_file(stopped.folder, "plain.yaml", **{**SETTINGS, "training": {**SETTINGS["training"], "maxSteps": 1}}), "plain"
    assert finetune("run", plain, "--output", stopped.folder / out).returncode == 0
    ours, untouched = (measured_in(ResultsFolder(stopped.folder / name)) for name in ("out", out))
    assert ours is not None
    assert untouched is not None
    assert ours.base.to_state() == untouched.base.to_state()
    assert ours.conditions == untouched.conditions


def test_the_report_says_what_the_corpus_brought_and_cost(stopped: Stopped) -> None:
    main, stage = read(stopped.out / "report.json"), read(stopped.out / "adaptation" / "report.json")
    corpus = main["domainAdaptation"]["corpus"]
    assert corpus["report"] == str(stopped.out / "adaptation" / "report.json")
    assert (corpus["steps"], corpus["texts"]) == (200, stage["data"]["train"])
    adapted, found = main["domainAdaptation"], stage["domainAdaptation"]
    assert set(adapted) == {*found, "corpus"}
    for name in ("domainPerplexity", "generalPerplexity"):
        kept = ("before", "after", "curve", "verdict")
        assert [adapted[name][key] for key in kept] == [found[name][key] for key in kept]
        assert adapted[name]["curve"]
    assert adapted["domainPerplexity"]["texts"] == "domainAdaptation.corpus"
    assert adapted["domainPerplexity"]["after"] < 0.7 * adapted["domainPerplexity"]["before"]
    said = " ".join(stopped.last.split())
    assert f"Domain stage: 200 steps on {corpus['texts']} texts. The base figures are from before this stage." in said
    assert f"General perplexity: {adapted['generalIncreasePercent']:+.1f} %" in said


def test_status_and_terminal_have_the_figures_and_warnings_of_the_corpus(stopped: Stopped) -> None:
    main, stage = read(stopped.out / "report.json"), read(stopped.out / "adaptation" / "report.json")
    status = read(stopped.out / "status.json")
    general = stage["domainAdaptation"]["generalPerplexity"]["after"]
    assert float(status["metrics"]["adaptation"]["generalPerplexity"]) == pytest.approx(general, rel=1e-4)
    [few] = [warning for warning in stage["warnings"] if "add texts" in warning]
    assert f"domain corpus: {few}" in main["warnings"]
    assert f"domain corpus: {few}" in status["warnings"]
    assert f"warning: domain corpus: {few}" in stopped.while_learned
    assert "domain corpus: validation at step " in stopped.while_learned


def test_a_finished_job_is_left_alone_and_another_corpus_is_refused(stopped: Stopped) -> None:
    job, corpus = stopped.folder / "job.yaml", stopped.folder / "corpus.txt"
    assert "nothing was changed" in finetune("run", job, "--output", stopped.out).stdout
    before = corpus.read_text()
    corpus.write_text(before + "\n\nanother text")
    refused = finetune("run", job, "--output", stopped.out)
    corpus.write_text(before)
    assert refused.returncode != 0
    assert "domainAdaptation.corpus.sources: holds something else than in the run that" in refused.stderr + refused.stdout


def labelled(path: Path, count: int, begin: str) -> None:
    rows = [{"text": f"{begin} {WORDS[number % 5]} {number}", "label": WORDS[number % 5]} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_encoder_fills_in_words_first_and_the_effect_is_shown_for_each_test_source(tmp_path: Path) -> None:
    save_encoder(tmp_path / "model")
    texts(tmp_path / "corpus.txt", 120)
    for number, (name, count) in enumerate({"train": 60, "test": 20, "other": 20}.items()):
        labelled(tmp_path / f"{name}.jsonl", count, f"{number} is")
    job = job_file(
        tmp_path,
        task="text-classification",
        method={"full": {}},
        training={"maxSteps": 10, "globalBatchSize": 8, "microBatchSize": 8, "learningRate": 0.002, "maxSequenceLength": 48},
        data={"train": [{"path": "train.jsonl"}], "test": [{"path": "test.jsonl"}, {"path": "other.jsonl"}]},
        evaluation={"ablations": ["domainAdaptation"]},
        domainAdaptation={"corpus": {"sources": [{"path": "corpus.txt"}], "maxSteps": 40}},
    )
    ran = finetune("run", job, "--output", tmp_path / "out")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = read(tmp_path / "out" / "report.json")
    learned = report["domainAdaptation"]["domainPseudoPerplexity"]
    assert learned["after"] < learned["before"]
    assert (learned["beforeIsGuessing"], learned["verdict"]) == (True, None), "the encoder has no head that fills in words"
    assert [point["step"] for point in learned["curve"]][-1] == 40
    assert "are those of guessing" in ran.stdout
    new = report["model"]["newlyInitialized"]
    assert new == ["classifier.bias", "classifier.weight"], "the pooler, which filling in words does not need, is kept"

    main, control = (measured_in(ResultsFolder(tmp_path / "out" / name)) for name in ("", "ablations/domainAdaptation"))
    assert main is not None
    assert control is not None
    assert control.base.to_state() == main.base.to_state()
    assert "base model was measured by the job's own run" in (tmp_path / "out" / "trainer.log").read_text()
    [effect] = report["ablations"]
    figures = effect["metrics"]["accuracy"]
    assert set(effect["without"]) == {"domainAdaptation.corpus"}
    assert set(figures["sources"]) == {"data.test[0]", "data.test[1]"}
    for side in ("control", "main"):
        parts = [source[side] for source in figures["sources"].values()]
        assert figures[side] == pytest.approx(sum(parts) / 2), "both sources have 20 rows"
