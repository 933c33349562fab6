"""A job with control runs: they go on where they were killed, equal jobs that were trained apart, and are compared on the same rows."""

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetune.api.metrics import MetricName
from finetune.api.record import EXIT_FAILURE
from finetune.api.results import ResultsFolder
from tests.finetune.cli.wholerun import command, environment, finetune, job_file, wait_until
from tests.trainer.fixtures.learning import learner_with_rows
from trainer.evaluation.comparison import compare
from trainer.evaluation.measured import measured_in

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("training")]

SETTINGS: dict[str, Any] = {
    "data": {"train": [{"path": "train.jsonl"}], "test": [{"path": "test.jsonl"}], "validationFraction": 0.2},
    "training": {"maxSteps": 120, "globalBatchSize": 8, "microBatchSize": 8, "learningRate": 0.01, "maxSequenceLength": 128},
    "method": {"lora": {"rank": 4, "alpha": 8, "dropout": 0.2}},
    "regularization": {"weightDecay": 0.1},
    "checkpoint": {"everySteps": 20},
}
FIGURES = {"everySteps": 20, "metrics": ["perplexity"]}
ASKED = {**FIGURES, "ablations": ["weightDecay", "dropout", "data"]}


@dataclass(frozen=True)
class Killed:
    """A job whose trainer was killed in the middle of the second control run, and that was run again."""

    folder: Path
    first: str
    second: str
    before: dict[str, int]
    """When the reports that were there had been written, at the kill."""

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def report(self) -> dict[str, Any]:
        return read(self.out / "report.json")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def written(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("ablations/*/report.json")}


def running(out: Path) -> tuple[str | None, int]:
    """Return which run is being trained, and at which step it is."""
    path = out / ".finetune" / "progress.json"
    progress = (json.loads(path.read_text()).get("progress") or {}) if path.is_file() else {}
    return progress.get("run"), progress.get("step", 0)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = learner_with_rows(tmp_path_factory.mktemp("ablations"), train=64, test=30)
    path, out = job_file(folder, **SETTINGS, evaluation=ASKED), folder / "out"
    with subprocess.Popen(command("run", path, "--output", out), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        second = out / "ablations" / "dropout" / "checkpoints" / "step-20"
        wait_until("in the second control run", second.is_dir, process, out / "trainer.log")
        [supervisor] = psutil.Process(process.pid).children()
        [trainer] = supervisor.children()
        os.kill(trainer.pid, signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_FAILURE, said
    assert running(out)[0] == "ablation dropout"
    assert set(written(out)) == {"ablations/weightDecay/report.json"}, "it died in the middle of the second one"
    before = written(out) | {"report.json": (out / "model/adapter/adapter_config.json").stat().st_mtime_ns}
    again = finetune("run", path, "--output", out)
    assert again.returncode == 0, again.stdout + again.stderr
    return Killed(folder, said, again.stdout, before)


@pytest.fixture(scope="module")
def apart(killed: Killed) -> Path:
    """Return the folder of the job without dropout, trained by itself."""
    settings = {**SETTINGS, "method": {"lora": {"rank": 4, "alpha": 8}}}
    path, out = job_file(killed.folder, "apart.yaml", **settings, evaluation=FIGURES), killed.folder / "apart"
    assert finetune("run", path, "--output", out).returncode == 0
    return out


def test_a_killed_control_run_goes_on_and_finished_ones_are_left_alone(killed: Killed) -> None:
    assert f"{killed.out} holds this finished run; its control runs are trained: ablations/weightDecay, " in killed.second
    assert "ablation dropout: training" in killed.second.splitlines()
    assert "ablation weightDecay: training" not in killed.second
    assert "training" not in killed.second.splitlines(), "the job's own run is finished"
    assert written(killed.out)["ablations/weightDecay/report.json"] == killed.before["ablations/weightDecay/report.json"]
    assert (killed.out / "model/adapter/adapter_config.json").stat().st_mtime_ns == killed.before["report.json"]
    assert read(killed.out / "ablations/dropout/report.json")["training"]["resumedFromStep"] >= 20
    status = read(killed.out / "status.json")
    assert "run" not in status["progress"], "at the end the progress is that of the job's own run"
    assert status["progress"]["step"] == 120
    assert status["attempts"][0]["lastStep"] == 120, "an attempt counts the steps of the job's own run"


def test_the_end_by_force_names_the_run_that_was_under_way(killed: Killed) -> None:
    *_, last = killed.first.splitlines()
    assert last.startswith(
        "ablation dropout was under way, and what was done before it is kept; fix the cause, then continue with: finetune run "
    )


def test_control_runs_leave_their_figures_and_no_weights(killed: Killed) -> None:
    for name in ("weightDecay", "dropout", "data-25", "data-50"):
        there = {path.name for path in (killed.out / "ablations" / name).iterdir()}
        assert there == {"report.json", "measurement.json", "metrics.jsonl", "run.json", "tensorboard"}
    assert "base model was measured by the job's own run" in (killed.out / "trainer.log").read_text()


def test_a_control_run_is_the_job_trained_without_the_part_and_the_difference_is_their_paired_one(killed: Killed, apart: Path) -> None:
    main, alone, control = (measured_in(ResultsFolder(folder)) for folder in (killed.out, apart, killed.out / "ablations/dropout"))
    assert main is not None
    assert alone is not None
    assert control is not None
    assert alone.rows == main.rows
    assert alone.tuned.to_state() == control.tuned.to_state(), "bit for bit, though the control run was killed and resumed"
    assert alone.base.to_state() == control.base.to_state()

    [_, effect] = killed.report["ablations"]
    found, figure = compare(alone.tuned, main.tuned).difference[MetricName.PERPLEXITY], effect["metrics"]["perplexity"]
    before, after = (side.tuned.values()[MetricName.PERPLEXITY] for side in (alone, main))
    assert effect["without"] == {"method.lora.dropout": 0.2}
    assert (figure["control"], figure["main"], figure["difference"]) == (before, after, after - before)
    assert (figure["interval"], figure["pValue"], figure["verdict"]) == (
        [found.interval.low, found.interval.high], found.p_value, found.verdict.value,
    )  # fmt: skip


def test_the_curve_shows_what_shares_of_the_rows_bring(killed: Killed) -> None:
    report, shares = killed.report, [0.25, 0.5, 1.0]
    rows = report["data"]["train"]
    assert [(point["share"], point["rows"], point["steps"]) for point in report["dataCurve"]] == [
        (share, -(-rows * share // 1), 120) for share in shares
    ]  # fmt: skip
    figures = [point["metrics"]["perplexity"]["value"] for point in report["dataCurve"]]
    folders = [killed.out / "ablations" / "data-25", killed.out / "ablations" / "data-50", killed.out]
    assert figures == [read(folder / "report.json")["final"]["perplexity"]["value"] for folder in folders]
    assert report["dataCurveSays"].startswith(
        f"From {report['dataCurve'][1]['rows']} to {rows} training rows, for the same number of steps, "
    )


def test_the_terminal_shows_what_each_part_brought(killed: Killed) -> None:
    lines = [" ".join(line.split()) for line in killed.second.splitlines()]
    begin = lines.index("Perplexity on the same test rows, with each part and without it")
    assert lines[begin + 2] == "part without with difference 95 % interval"
    assert [line.split()[0] for line in lines[begin + 4 : begin + 6]] == ["weightDecay", "dropout"]
    assert max(len(line) for line in killed.second.splitlines()[begin : begin + 7] if "warning" not in line) <= 80
    assert "Effect of more training rows" in lines


def test_a_job_whose_control_runs_are_finished_is_left_alone_and_another_part_is_measured_later(killed: Killed) -> None:
    path = killed.folder / "job.yaml"
    again = finetune("run", path, "--output", killed.out)
    assert again.returncode == 0
    assert f"{killed.out} holds this finished run; nothing was changed; --overwrite trains again" in again.stdout
    before = written(killed.out)
    fewer = job_file(killed.folder, "fewer.yaml", **SETTINGS, evaluation={**FIGURES, "ablations": ["dropout"]})
    assert "nothing was changed" in finetune("run", fewer, "--output", killed.out).stdout, "what is measured does not change the run"
    assert written(killed.out) == before


def test_two_runs_are_shown_beside_each_other(killed: Killed, apart: Path) -> None:
    picture = killed.folder / "curves.svg"
    shown = finetune("compare", killed.out, apart, "--plot", picture)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert lines[lines.index("setting out apart") + 2 :][:2] == ["method.lora.dropout 0.2 0.0", ""], "and no other setting"
    begin = lines.index("figures on the same 30 test rows")
    assert lines[begin + 2 : begin + 4] == ["value 95 % interval difference 95 % interval", "Perplexity (lower is better)"]

    [_, effect] = killed.report["ablations"]
    figure = effect["metrics"]["perplexity"]
    low, high = (-figure["interval"][1], -figure["interval"][0])
    word = {"better": "worse", "worse": "better", "no clear difference": "unclear"}[figure["verdict"]]
    own, other = lines[begin + 4 : begin + 6]
    assert own.startswith(f"out {figure['main']:.2f} ")
    assert other.startswith(f"apart {figure['control']:.2f} ")
    assert other.endswith(f" {-figure['difference']:+.2f} {low:+.2f} to {high:+.2f} {word}")
    assert max(map(len, shown.stdout.splitlines()[begin : begin + 9])) <= 80
    assert lines[-1] == f"the learning curves are in {picture}"
    assert {"out", "apart"} <= set(re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text()))

    said = json.loads(finetune("compare", killed.out, apart, "--json").stdout)
    assert said["settings"] == {"method.lora.dropout": {"out": 0.2, "apart": 0.0}}
    assert said["figures"][0]["metrics"]["perplexity"]["apart"]["difference"]["value"] == pytest.approx(-figure["difference"])
    assert (said["runs"]["out"]["steps"], said["runs"]["out"]["finished"], said["warnings"]) == (120, True, [])
