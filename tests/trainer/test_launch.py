"""How the driver names an end: exit code, reason, message."""

from pathlib import Path

import pytest

from tests.trainer.model.builders import train_config
from trainer.config.errors import InputError
from trainer.config.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SUCCESS, Result
from trainer.launch import end_of, outcome_of, ray_trainer
from trainer.loop import TrainingDivergedError
from trainer.stopping import InterruptedRunError


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class WorkerGroupError(Exception):
    """In the shape of Ray Train's."""

    def __init__(self, *failures: Exception) -> None:
        self.worker_failures = dict(enumerate(failures))
        super().__init__("Training failed due to worker errors")


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
        pytest.param(ValueError("x"), EXIT_FAILURE, Result.FAILED, "TrainingError", id="anything else"),
        pytest.param(InterruptedRunError("stopped"), EXIT_INTERRUPTED, Result.INTERRUPTED, "Interrupted", id="interruption"),
        pytest.param(SystemExit(15), EXIT_INTERRUPTED, Result.INTERRUPTED, "Interrupted", id="Ray's own handler"),
    ],
)
def test_an_end_has_its_exit_code_and_reason(error: BaseException, exit_code: int, result: Result, reason: str) -> None:
    ending = end_of(raising(error))
    assert (ending.exit_code, ending.outcome.result, ending.outcome.reason) == (exit_code, result, reason)


def test_a_good_end_is_a_success() -> None:
    assert end_of(lambda: "all good").exit_code == EXIT_SUCCESS


def test_a_long_message_is_cut_to_what_a_record_holds() -> None:
    assert len(outcome_of(Result.FAILED, "TrainingError", "x" * 10_000).message) == 2048


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
