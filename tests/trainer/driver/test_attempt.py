"""How the driver names an end: exit code, reason, message."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SUCCESS, Result, Stage
from finetune.api.trainconfig import TrainConfig
from tests.trainer.model.builders import train_config
from trainer.driver.attempt import attempt, check, end_of, outcome_of, overseen, ray_trainer
from trainer.driver.raystart import RayNotStartedError
from trainer.driver.stopping import SIGNALS, InterruptedRunError, StopRequest
from trainer.model.verification import ExportMismatchError
from trainer.storage.ownership import Ownership
from trainer.training.loop import TrainingDivergedError


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class WorkerGroupError(Exception):
    """In the shape of Ray Train's."""

    def __init__(self, *failures: Exception) -> None:
        self.worker_failures = dict(enumerate(failures))
        super().__init__("Training failed due to worker errors")


class WorkerGroupStartupTimeoutError(Exception):
    """Named as Ray Train's."""


class ControllerError(Exception):
    """In the shape of Ray Train's."""

    def __init__(self, failure: Exception) -> None:
        self.controller_failure = failure
        super().__init__("Training failed due to controller error")


def raising(error: BaseException):
    def work() -> str:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "exit_code", "result", "reason"),
    [
        pytest.param(InputError("data.train[0]", "is empty"), EXIT_INPUT, Result.INPUT_INVALID, "InputInvalid", id="input"),
        pytest.param(
            WorkerGroupError(InputError("model", "x")), EXIT_INPUT, Result.INPUT_INVALID, "InputInvalid", id="input, told by a worker"
        ),
        pytest.param(WorkerGroupError(OutOfMemoryError("CUDA")), EXIT_FAILURE, Result.FAILED, "OutOfMemory", id="memory"),
        pytest.param(WorkerGroupError(TrainingDivergedError("step 3")), EXIT_FAILURE, Result.FAILED, "TrainingDiverged", id="divergence"),
        pytest.param(
            WorkerGroupError(ExportMismatchError("merged")), EXIT_FAILURE, Result.FAILED, "ExportMismatch", id="an export of another model"
        ),
        pytest.param(ValueError("x"), EXIT_FAILURE, Result.FAILED, "TrainingError", id="anything else"),
        pytest.param(InterruptedRunError("stopped"), EXIT_INTERRUPTED, Result.INTERRUPTED, "Interrupted", id="interruption"),
        pytest.param(SystemExit(15), EXIT_FAILURE, Result.FAILED, "TrainingError", id="a library that exits"),
        pytest.param(RayNotStartedError("twice"), EXIT_FAILURE, Result.FAILED, "RayNotStarted", id="Ray"),
        pytest.param(ControllerError(WorkerGroupStartupTimeoutError(2)), EXIT_FAILURE, Result.FAILED, "RayNotStarted", id="Ray's workers"),
    ],
)
def test_an_end_has_its_exit_code_and_reason(error: BaseException, exit_code: int, result: Result, reason: str) -> None:
    ending = end_of(raising(error))
    assert (ending.exit_code, ending.outcome.result, ending.outcome.reason) == (exit_code, result, reason)


def test_a_good_end_is_a_success() -> None:
    assert end_of(lambda: "all good").exit_code == EXIT_SUCCESS


def test_a_long_message_is_cut_to_what_a_record_holds() -> None:
    assert len(outcome_of(Result.FAILED, "TrainingError", "x" * 10_000).message) == 2048


def test_a_message_with_half_a_letter_of_a_row_is_still_a_message() -> None:
    assert outcome_of(Result.FAILED, "TrainingError", "row 3: \ud83d").message == "row 3: ?"


def test_an_input_error_survives_the_way_from_a_worker() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(InputError("model.name", "is gated", "give model.tokenSecret")))
    assert (error.field, str(error)) == ("model.name", "model.name: is gated; give model.tokenSecret")


def test_sigterm_inside_a_library_that_takes_every_exception_for_bad_input_is_still_an_interruption() -> None:
    def library() -> str:
        try:
            raise InterruptedRunError("stopped before training began")
        except Exception as error:
            raise InputError("model.name", "cannot be loaded") from error

    assert end_of(library).exit_code == EXIT_INTERRUPTED


@pytest.mark.parametrize(
    ("workers", "ranks", "use_gpu", "resources", "backend"),
    [
        pytest.param({"workers": 2, "gpusPerWorker": 4, "cpusPerWorker": 16}, 8, True, {"CPU": 4.0, "GPU": 1.0}, "nccl", id="GPUs"),
        pytest.param({"workers": 3, "gpusPerWorker": 0, "cpusPerWorker": 2}, 3, False, {"CPU": 2.0}, "gloo", id="CPUs"),
    ],
)
def test_each_gpu_or_each_worker_without_one_is_a_rank(
    tmp_path: Path, workers: dict[str, int], ranks: int, use_gpu: bool, resources: dict[str, float], backend: str
) -> None:
    config = train_config(workers=workers, output={"directory": str(tmp_path)})
    trainer = ray_trainer(config, payload=None)
    scaling = trainer.scaling_config
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (ranks, use_gpu, resources)
    assert trainer.backend_config.backend == backend
    assert trainer.run_config.failure_config.max_failures == 0, "attempts are the controller's"


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

    ending = overseen(work)
    assert (ending.exit_code, ending.outcome.result, ending.unfinished) == (EXIT_INTERRUPTED, Result.INTERRUPTED, False)
    assert ending.outcome.message == "stopped on request; on the way: OSError: the disk is full"


@pytest.mark.usefixtures("signals_restored")
def test_a_check_that_is_stopped_says_so_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: object) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait()
        return "never"

    monkeypatch.setattr("trainer.driver.attempt.inspect", stopped)
    config = train_config(output={"directory": str(tmp_path)}, progress={"file": str(tmp_path / "progress.json")})
    ending = check(config)
    assert (ending.exit_code, ending.unfinished, ending.outcome.message) == (EXIT_INTERRUPTED, True, "stopped on request")
    assert json.loads((tmp_path / "progress.json").read_text())["outcome"]["result"] == "Interrupted"


class CheckedInputs:
    """Inputs that are sound."""

    findings = ()

    def digests(self, config: TrainConfig) -> dict[str, str]:
        return {"data.train": "rows"}


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.fields: dict[str, object] = {}

    def update(self, **fields: object) -> None:
        self.fields |= fields


def results(folder: Path, *forms: str) -> None:
    """Write what a run leaves."""
    report = {"baseline": {}, "final": {"perplexity": {"value": 3.0}}, "best": None, "checkpoints": [], "exports": []}
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

    def fit(*_: object, trained: bool) -> None:
        seen.append(trained)
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        results(tmp_path, "adapter", "merged")

    (tmp_path / "checkpoints" / "step-3").mkdir(parents=True)
    monkeypatch.setattr("trainer.driver.attempt.check_inputs", lambda _: CheckedInputs())
    monkeypatch.setattr("trainer.driver.attempt.fit", fit)
    monkeypatch.setattr("trainer.driver.attempt.print_report", lambda _: None)
    told = Told()

    attempt(config, told, StopRequest())

    assert seen == fitted
    assert ("metrics" in told.fields) == (there is not None), "what a report says is told again"
    assert json.loads((tmp_path / "run.json").read_text())["finished"]


def test_a_finished_run_without_results_and_checkpoints_is_refused_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = train_config(output={"directory": str(tmp_path)})
    Ownership.of(config, {"data.train": "rows"}).write(finished=True)
    monkeypatch.setattr("trainer.driver.attempt.check_inputs", lambda _: CheckedInputs())
    monkeypatch.setattr("trainer.driver.attempt.fit", lambda *_, **__: pytest.fail("Ray was started"))

    with pytest.raises(InputError, match=r"output: the run in .* is finished, but no sound checkpoint of it is left"):
        attempt(config, Told(), StopRequest())


@pytest.mark.parametrize("asked", [True, False])
def test_results_that_are_missing_are_an_interruption_only_where_somebody_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    stop = StopRequest()
    monkeypatch.setattr("trainer.driver.attempt.check_inputs", lambda _: CheckedInputs())
    monkeypatch.setattr("trainer.driver.attempt.fit", lambda *_, **__: setattr(stop, "_signals", int(asked)))
    config = train_config(output={"directory": str(tmp_path), "export": ["adapter"]})

    ending = end_of(lambda: attempt(config, Told(), stop))

    if asked:
        assert (ending.exit_code, ending.outcome.message) == (EXIT_INTERRUPTED, "stopped on request")
    else:
        assert ending.exit_code == EXIT_FAILURE
        assert ending.outcome.message.endswith(f"but {tmp_path} lacks report.json, model/adapter")
