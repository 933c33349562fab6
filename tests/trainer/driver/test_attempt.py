"""What one attempt does with its output folder, and how it ends when it is stopped."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName, Score
from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, ProgressRecord, Result, Stage
from finetune.api.sections import Export
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.examples import chat
from tests.trainer.fixtures.stored import stored
from tests.trainer.reporting.test_effects import measured, right_on
from trainer.data.datafolder import DataFolder
from trainer.data.rows import Dataset
from trainer.data.shards import Shard
from trainer.driver.attempt import Job, attempt, check, inspect, overseen, run
from trainer.driver.derived import Plan, Planned, derived
from trainer.driver.exits import exit_of
from trainer.driver.stopping import SIGNALS, InterruptedRunError, StopRequest
from trainer.driver.succession import SIGN
from trainer.driver.workers import Workers
from trainer.preflight.tokens import Tokens
from trainer.reporting.stageclock import StageClock
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import Ownership
from trainer.training.figures import TrainingDivergedError


@pytest.fixture
def signals_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_restored")
def test_what_fails_because_the_run_is_being_stopped_is_no_failure() -> None:
    def work(stop: StopRequest) -> str:
        stop.note(Stage.TRAINING)
        os.kill(os.getpid(), signal.SIGTERM)
        while not stop.wanted:
            time.sleep(0.01)
        raise OSError("the disk is full")

    end = overseen(work)
    assert (end.exit_code, end.outcome.result, end.unfinished) == (EXIT_INTERRUPTED, Result.INTERRUPTED, False)
    assert end.outcome.message == "stopped on request; on the way: OSError: the disk is full"


@pytest.mark.usefixtures("signals_restored")
def test_a_check_that_is_stopped_says_so_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: object) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait()
        return "never"

    monkeypatch.setattr("trainer.driver.attempt.inspect", stopped)
    config = train_config(output={"directory": str(tmp_path)}, progress={"file": str(tmp_path / "progress.json")})
    end = check(config)
    assert (end.exit_code, end.unfinished, end.outcome.message) == (EXIT_INTERRUPTED, True, "stopped on request")
    assert json.loads((tmp_path / "progress.json").read_text())["outcome"]["result"] == "Interrupted"


class CheckedInputs:
    """Valid inputs."""

    findings = found = ()

    def digests(self, config: TrainConfig) -> dict[str, str]:
        return {"data.train": "rows"}

    def with_tokens(self, config: TrainConfig, data: DataFolder) -> "CheckedInputs":
        return self

    @property
    def written_tokens(self) -> Tokens:
        return Tokens(*[Shard(Path("/nowhere"), 0, 0, 0)] * 3)


class Published:
    """A publisher that keeps what changes."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def update(self, **fields: object) -> None:
        self.fields |= fields

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Nobody asks to stop."""


class LateWorkers(Workers):
    """Workers that are asked for, and never come up."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config, StageClock("driver", 0.0))
        self.asked = 0

    def begin(self) -> None:
        self.asked += 1


def attempted(config: TrainConfig, published: Published, stop: StopRequest) -> str:
    return attempt(config, published, stop, StageClock("driver", 0.0), LateWorkers(config))


def results(folder: Path, *forms: str) -> None:
    """Write what a run leaves."""
    report = {
        "baseline": {},
        "final": {"perplexity": {"value": 3.0}},
        "change": {},
        "measuredStep": 3,
        "best": None,
        "checkpoints": [],
        "exports": [],
    }
    model = {"name": "m", "source": "s", "precision": "float32", "digest": "sha256:0"}
    (folder / "report.json").write_text(json.dumps(report | {"model": model}))
    for form in forms:
        (folder / "model" / form).mkdir(parents=True)
        for name in ("config.json", "adapter_config.json", "model.safetensors", "adapter_model.safetensors"):
            (folder / "model" / form / name).write_text("{}")


@pytest.mark.parametrize(
    ("finished", "there", "fitted"),
    [
        pytest.param(False, None, [False], id="a new run is trained"),
        pytest.param(True, ("adapter", "merged"), [], id="a finished run is left alone"),
        pytest.param(True, ("adapter",), [True], id="a form that was added is made without training"),
        pytest.param(True, None, [True], id="results that were deleted are made without training"),
    ],
)
def test_a_finished_run_is_asked_for_what_it_lacks_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool, there: tuple[str, ...] | None, fitted: list[bool]
) -> None:
    config = train_config(output={"directory": str(tmp_path), "export": ["adapter", "merged"]})
    Ownership.of(config, {"data.train": "rows"}).write(finished=finished)
    if there is not None:
        results(tmp_path, *there)
    seen: list[bool] = []

    def fit(*_: object, only_results: bool) -> None:
        seen.append(only_results)
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        results(tmp_path, "adapter", "merged")

    (tmp_path / "checkpoints" / "step-3").mkdir(parents=True)
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: CheckedInputs())
    monkeypatch.setattr("trainer.driver.onerun.fit", fit)
    monkeypatch.setattr("trainer.driver.onerun.print_report", lambda _: None)
    published = Published()

    attempted(config, published, StopRequest())

    assert seen == fitted
    metrics = published.fields.get("metrics")
    assert (metrics is not None) == (there is not None), "what the report says is published again"
    assert metrics is None or metrics.score == Score.of(MetricName.PERPLEXITY, 3.0, step=3)
    assert json.loads((tmp_path / "run.json").read_text())["finished"]


def test_the_record_says_that_rows_are_read_and_tokenized_until_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published, seen = Published(), list[tuple[str, Stage]]()

    class Seen(CheckedInputs):
        found = ("data.train",)

        def with_tokens(self, config: TrainConfig, data: DataFolder) -> CheckedInputs:
            seen.append((capsys.readouterr().out, published.fields["stage"]))
            return self

    def checked(*_: object, **__: object) -> Seen:
        seen.append(("the rows are read", published.fields["stage"]))
        return Seen()

    def fit(*_: object, **__: object) -> None:
        seen.append(("Ray is started", published.fields["stage"]))
        results(tmp_path, "adapter")

    monkeypatch.setattr("trainer.driver.onerun.check_inputs", checked)
    monkeypatch.setattr("trainer.driver.onerun.fit", fit)
    config = train_config(output={"directory": str(tmp_path), "export": ["adapter"]})
    attempted(config, published, StopRequest())
    assert seen == [
        ("the rows are read", Stage.READING),
        ("tokens of an earlier start are used: data.train\n", Stage.READING),
        ("Ray is started", Stage.STARTING),
    ]


@pytest.mark.parametrize(
    ("work", "workers", "here"),
    [
        pytest.param(lambda config: attempted(config, Published(), StopRequest()), 1, True, id="a run of one worker, which has torch"),
        pytest.param(lambda config: attempted(config, Published(), StopRequest()), 2, False, id="a run of several"),
        pytest.param(inspect, 1, False, id="a check"),
    ],
)
def test_only_a_program_that_trains_rehearses_the_model_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[TrainConfig], str], workers: int, here: bool
) -> None:
    def checked(*_: object, rehearse_here: bool) -> None:
        raise InputError("model", f"rehearsed here: {rehearse_here}")

    for place in ("onerun", "attempt"):
        monkeypatch.setattr(f"trainer.driver.{place}.check_inputs", checked)
    with pytest.raises(InputError, match=f"rehearsed here: {here}"):
        work(train_config(output={"directory": str(tmp_path)}, workers={"workers": workers}))


@pytest.mark.parametrize(
    ("workers", "finished", "asked"),
    [
        pytest.param(2, None, 1, id="a new run"),
        pytest.param(2, False, 1, id="a run that goes on"),
        pytest.param(2, True, 0, id="a finished run, which may lack nothing"),
        pytest.param(1, None, 0, id="one worker, which needs no Ray"),
    ],
)
def test_ray_comes_up_while_the_rows_are_read_where_workers_will_be_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, finished: bool | None, asked: int
) -> None:
    config = train_config(output={"directory": str(tmp_path)}, workers={"workers": workers})
    late = LateWorkers(config)
    if finished is not None:
        Ownership.of(config, {"data.train": "rows"}).write(finished=finished)

    def refuse(*_: object, **__: object) -> None:
        assert late.asked == asked
        raise InputError("data.train[0]", "is not there", "name a file that is")

    monkeypatch.setattr("trainer.driver.onerun.check_inputs", refuse)
    with pytest.raises(InputError, match="is not there"):
        attempt(config, Published(), StopRequest(), StageClock("driver", 0.0), late)


@pytest.mark.usefixtures("signals_restored")
def test_workers_that_wait_for_an_input_that_is_refused_go_with_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("data.train[0]", "is not there", "name a file that is")

    monkeypatch.setattr("trainer.driver.workers.prepare_for_ray", lambda _: None)
    monkeypatch.setattr("trainer.driver.workers.start_ray", lambda _: threading.Event().wait())
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", refuse)
    progress = {"file": str(tmp_path / "progress.json")}
    config = train_config(output={"directory": str(tmp_path)}, progress=progress, workers={"workers": 2})
    end = run(config)
    assert (end.exit_code, end.unfinished) == (EXIT_INPUT, True)
    assert json.loads((tmp_path / "progress.json").read_text())["outcome"]["result"] == "InputInvalid"


class KeptRecords:
    """A progress ConfigMap."""

    interval_seconds = heartbeat_seconds = float("inf")
    stop_requested = ""

    def __init__(self) -> None:
        self.records: list[ProgressRecord] = []

    def write(self, record: ProgressRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> KeptRecords:
    """Those of a run in the Ray cluster bot-1-first."""
    kept = KeptRecords()
    monkeypatch.setenv("RAY_CLUSTER_NAME", "bot-1-first")
    monkeypatch.setattr("trainer.driver.attempt.open_target", lambda _: kept)
    monkeypatch.setattr("trainer.driver.attempt.keep_log", lambda *_: True)
    return kept


def in_a_queue(folder: Path) -> TrainConfig:
    progress = {"namespace": "team", "configMap": "bot-1-progress"}
    return train_config(folder, job={"name": "bot", "uid": "u"}, output={"directory": str(folder)}, progress=progress)


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("unfinished", [False, True])
def test_the_next_cluster_is_not_let_in_while_work_still_goes_on_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: KeptRecords, unfinished: bool
) -> None:
    def work(*_: object) -> str:
        if unfinished:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()
        return "done"

    monkeypatch.setattr("trainer.driver.attempt.attempt", work)
    assert run(in_a_queue(tmp_path)).unfinished == unfinished
    assert json.loads((tmp_path / SIGN).read_text())["ended"] == (not unfinished)
    assert records.records[-1].outcome is not None


@pytest.mark.usefixtures("signals_restored")
def test_a_run_whose_place_another_cluster_has_taken_leaves_at_once_and_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: KeptRecords
) -> None:
    def work(*_: object) -> str:
        (tmp_path / SIGN).write_text('{"attempt": 1, "cluster": "bot-1-second", "renewals": 1}')
        return "done"

    monkeypatch.setattr("trainer.driver.attempt.attempt", work)
    end = run(in_a_queue(tmp_path))
    assert (end.exit_code, end.unfinished) == (EXIT_INTERRUPTED, True)
    assert end.outcome.message == "the Ray cluster bot-1-second has taken the place of this one"
    assert [record.outcome for record in records.records if record.outcome] == []
    assert json.loads((tmp_path / SIGN).read_text())["cluster"] == "bot-1-second"


def test_the_checkpoints_of_a_version_that_lacked_a_field_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = train_config(output={"directory": str(tmp_path)})
    earlier = Ownership.of(config, {"data.train": "rows"})
    del earlier.lineage["training"]["groupByLength"]
    earlier.write(finished=False)
    recorded, owners = Ownership.recorded(LocalFolder(tmp_path)).owner, []
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: CheckedInputs())
    monkeypatch.setattr("trainer.driver.onerun.fit", lambda *given, **_: owners.append(given[2].owner))

    exit_of(lambda: attempted(config, Published(), StopRequest()))

    assert owners == [recorded]


@pytest.mark.parametrize("work", [lambda config: attempted(config, Published(), StopRequest()), inspect], ids=["run", "check"])
@pytest.mark.parametrize(
    "change", [{"job": {"name": "other", "uid": None}}, {"training__learningRate": 0.5}], ids=["another job", "another configuration"]
)
def test_no_row_is_read_or_written_for_a_folder_that_holds_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[TrainConfig], str], change: dict[str, Any]
) -> None:
    config = train_config(tmp_path, output={"directory": str(tmp_path / "out")})
    Ownership.of(config, {"data.train": "rows"}).write(finished=False)
    before = sorted((tmp_path / "out").rglob("*"))
    for place in ("onerun.data_of_a_run", "attempt.data_of_a_check"):
        monkeypatch.setattr(f"trainer.driver.{place}", lambda _: pytest.fail("a folder for rows was made"))

    with pytest.raises(InputError):
        work(train_config(tmp_path, output={"directory": str(tmp_path / "out")}, **change))

    assert sorted((tmp_path / "out").rglob("*")) == before


def test_a_finished_run_without_results_and_checkpoints_is_refused_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = train_config(output={"directory": str(tmp_path)})
    Ownership.of(config, {"data.train": "rows"}).write(finished=True)
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: CheckedInputs())
    monkeypatch.setattr("trainer.driver.onerun.fit", lambda *_, **__: pytest.fail("Ray was started"))

    with pytest.raises(InputError, match=r"output: the run in .* is finished, but no valid checkpoint of it is left"):
        attempted(config, Published(), StopRequest())


class Trains:
    """Leaves the figures of each run in its folder, but of a control run raises what it is told to."""

    def __init__(self, **faults: Exception) -> None:
        self.faults, self.trained = faults, list[str]()

    def __call__(self, config: TrainConfig, *_: object, **__: object) -> None:
        folder = Path(config.output.directory)
        self.trained.append(folder.name)
        (folder / "checkpoints" / "step-3").mkdir(parents=True, exist_ok=True)
        if folder.name in self.faults:
            raise self.faults[folder.name]
        results(folder, "adapter")
        report = json.loads((folder / "report.json").read_text())
        training, data = {"steps": 6, "totalSteps": 6, "epochs": 2.0, "tokensSeen": 9}, {"train": 100}
        report |= {"judgedBy": "accuracy", "training": training, "data": data, "warnings": ["two rows were cut"]}
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "measurement.json").write_text(measured(right_on(150)).to_text())


class RowsForAll(CheckedInputs):
    """Valid input with test rows, of which shares can be taken."""

    @property
    def dataset(self) -> Dataset:
        rows = [chat(f"question {number}", "yes") for number in range(9)]
        return Dataset(stored(rows[:8]), (), stored(rows[8:]))


def with_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trains: Trains) -> tuple[TrainConfig, Published]:
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: RowsForAll())
    monkeypatch.setattr("trainer.driver.onerun.fit", trains)
    monkeypatch.setattr("trainer.driver.onerun.print_report", lambda _: None)
    ablations = ["weightDecay", "dropout", "data"]
    config = train_config(
        output={"directory": str(tmp_path), "export": ["adapter"]}, regularization={"weightDecay": 0.1, "dropout": 0.2},
        evaluation={"ablations": ablations},
    )  # fmt: skip
    return config, Published()


def test_a_control_run_that_diverges_costs_its_own_figures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trains = Trains(weightDecay=TrainingDivergedError("step 3: loss nan"), **{"data-50": TrainingDivergedError("step 4: loss nan")})
    config, published = with_controls(tmp_path, monkeypatch, trains)
    words = attempted(config, published, StopRequest())
    assert words.endswith(", and 4 further runs, 2 of which failed")
    assert trains.trained == [tmp_path.name, "weightDecay", "dropout", "data-25", "data-50"]
    report = json.loads((tmp_path / "report.json").read_text())
    failed, dropout = report["ablations"]
    assert failed == {"name": "weightDecay", "failed": "step 3: loss nan"}
    assert dropout["metrics"]["accuracy"]["difference"] == 0
    quarter, half, whole = report["dataCurve"]
    assert half == {"name": "50 % of the rows", "share": 0.5, "failed": "step 4: loss nan"}
    assert [point["metrics"]["accuracy"]["value"] for point in (quarter, whole)] == [0.75, 0.75]
    assert published.fields["warnings"] == [
        "ablation weightDecay failed: step 3: loss nan", "50 % of the rows failed: step 4: loss nan", "two rows were cut",
    ]  # fmt: skip
    assert not list((tmp_path / "ablations").glob("*/checkpoints")), "nobody needs them"
    assert "warning: no figures of weightDecay, whose run failed: step 3: loss nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("faults", "words"),
    [({}, ", and 1 further run"), ({"weightDecay": TrainingDivergedError("loss nan")}, ", and 1 further run, which failed")],
    ids=["done", "failed"],
)
def test_one_further_run_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, Exception], words: str) -> None:
    config, published = with_controls(tmp_path, monkeypatch, Trains(**faults))
    config = config.changed(evaluation=config.evaluation.changed(ablations=["weightDecay"]))
    assert attempted(config, published, StopRequest()).endswith(f"the model is trained, measured and written{words}")


@dataclass(frozen=True)
class FindingInputs(CheckedInputs):
    """Valid inputs of which there is something to say."""

    findings: tuple[str, ...] = ("a row was cut",)


@pytest.mark.parametrize("figures_only", [False, True], ids=["what the job begins with", "figures"])
def test_warnings_of_what_the_job_begins_with_reach_its_record_and_its_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures_only: bool
) -> None:
    class Keeps(Trains):
        def __call__(self, config: TrainConfig, inputs: Any, *rest: object, **options: object) -> None:
            super().__call__(config, *rest, **options)
            self.findings = inputs.findings

    trains, published = Keeps(), Published()
    config = train_config(output={"directory": str(tmp_path), "export": ["adapter"]})
    stage = derived(config, "stage", "stage", figures_only=figures_only, export=[Export.ADAPTER])
    plan = Plan(before=[Planned("stage", lambda *_: stage, {"two rows": "data.train"})])
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: FindingInputs())
    monkeypatch.setattr("trainer.driver.onerun.fit", trains)
    monkeypatch.setattr("trainer.driver.onerun.print_report", lambda _: None)
    for _ in range(2):  # and where it was finished before
        Job(plan, published, StopRequest(), StageClock("driver", 0.0), LateWorkers(config)).run(config)  # type: ignore[arg-type]
        expected = ["a row was cut", *([] if figures_only else ["stage: data.train were cut"])]
        assert list(trains.findings) == published.fields["warnings"] == expected
        (tmp_path / "report.json").unlink()
        shutil.rmtree(tmp_path / "model")
    assert trains.trained == ["stage", tmp_path.name, tmp_path.name]


@pytest.mark.parametrize("fault", [MemoryError("no room"), OSError("the disk is full"), InterruptedRunError("stopped on request")])
def test_what_another_attempt_may_get_past_ends_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    trains = Trains(weightDecay=fault)
    config, published = with_controls(tmp_path, monkeypatch, trains)
    with pytest.raises(type(fault)):
        attempted(config, published, StopRequest())
    assert trains.trained == [tmp_path.name, "weightDecay"]
    assert (tmp_path / "ablations" / "weightDecay" / "checkpoints").is_dir(), "the next attempt goes on from there"


def test_a_job_whose_own_run_diverges_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trains = Trains(**{tmp_path.name: TrainingDivergedError("step 3: loss nan")})
    config, published = with_controls(tmp_path, monkeypatch, trains)
    with pytest.raises(TrainingDivergedError):
        attempted(config, published, StopRequest())
    assert trains.trained == [tmp_path.name]


@pytest.mark.parametrize("asked", [True, False])
def test_results_that_are_missing_are_an_interruption_only_where_somebody_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    stop = StopRequest()
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: CheckedInputs())
    monkeypatch.setattr("trainer.driver.onerun.fit", lambda *_, **__: setattr(stop, "_signals", int(asked)))
    config = train_config(output={"directory": str(tmp_path), "export": ["adapter"]})

    end = exit_of(lambda: attempted(config, Published(), stop))

    if asked:
        assert (end.exit_code, end.outcome.message) == (EXIT_INTERRUPTED, "stopped on request")
    else:
        assert end.exit_code == EXIT_FAILURE
        assert end.outcome.message.endswith(f"but {tmp_path} lacks report.json, model/adapter")


def test_a_stopped_attempt_does_not_pass_off_the_results_of_one_before_it_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = train_config(output={"directory": str(tmp_path), "export": ["adapter"]})
    Ownership.of(config, {"data.train": "rows"}).write(finished=False)
    results(tmp_path, "adapter")
    stop = StopRequest()
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: CheckedInputs())
    monkeypatch.setattr("trainer.driver.onerun.fit", lambda *_, **__: setattr(stop, "_signals", 1))

    end = exit_of(lambda: attempted(config, Published(), stop))

    assert (end.exit_code, end.outcome.result) == (EXIT_INTERRUPTED, Result.INTERRUPTED)
    assert not json.loads((tmp_path / "run.json").read_text())["finished"]


def test_a_form_that_a_killed_export_had_moved_aside_is_put_back_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = train_config(output={"directory": str(tmp_path), "export": ["adapter"]})
    Ownership.of(config, {"data.train": "rows"}).write(finished=True)
    results(tmp_path, "adapter")
    (tmp_path / "model" / "adapter").rename(tmp_path / "model" / ".adapter.finetune-replaced")
    monkeypatch.setattr("trainer.driver.onerun.check_inputs", lambda *_, **__: CheckedInputs())
    monkeypatch.setattr("trainer.driver.onerun.fit", lambda *_, **__: pytest.fail("Ray was started"))

    attempted(config, Published(), StopRequest())

    assert (tmp_path / "model" / "adapter" / "adapter_model.safetensors").is_file()
