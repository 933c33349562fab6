"""How a run's end becomes exit code, reason and message."""

import pickle
import sys

import pytest
import torch
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError
from ray.exceptions import OutOfMemoryError as EvictedForMemory
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError
from safetensors import SafetensorError

from finetune.api.errors import InputError, RunError
from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SUCCESS, Result
from trainer.driver.exits import LastWords, dead_ranks, exit_of, failed_for_good, outcome_of
from trainer.driver.onerun import MissingResultsError
from trainer.driver.raystart import RayNotStartedError
from trainer.driver.stopping import InterruptedRunError
from trainer.hub.connection import HubUnavailable
from trainer.model.verification import ExportMismatchError
from trainer.storage.checkpoint import TornCheckpointError
from trainer.training.figures import TrainingDivergedError


def of_workers(*failures: Exception) -> WorkerGroupError:
    """What Ray Train raises when workers fail."""
    return WorkerGroupError("rank 0 failed", dict(enumerate(failures)))


LOW_MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.7, ID: 5f) was 15.3GB used / 16GB limit"
)
PROCESS_DIED = (
    "The actor is dead because its worker process has died. Worker exit type: {kind} Worker exit detail: Worker unexpectedly exits with a"
    " connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer due to high memory"
    " usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error."
)
"""Ray's words, the second with the guess that it adds whatever the worker died of."""


def actor_died(message: str) -> ActorDiedError:
    """What Ray raises for a call of an actor whose process is gone."""
    return ActorDiedError(ActorDiedErrorContext(error_message=message, class_name="RayTrainWorker", actor_id=b"\1" * 16))


def unhealthy(failure: Exception) -> WorkerGroupError:
    """What Ray Train raises when it finds a worker gone."""
    return of_workers(WorkerHealthCheckFailedError("A worker health check failed.\nWorker info: rank 0", failure))


def raising(error: BaseException):
    def work() -> str:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "exit_code", "result", "reason"),
    [
        pytest.param(InputError("data.train[0]", "is empty"), EXIT_INPUT, Result.INPUT_INVALID, "InputInvalid", id="input"),
        pytest.param(of_workers(InputError("model", "x")), EXIT_INPUT, Result.INPUT_INVALID, "InputInvalid", id="input, seen by a worker"),
        pytest.param(InterruptedRunError("stopped"), EXIT_INTERRUPTED, Result.INTERRUPTED, "Interrupted", id="interruption"),
    ],
)
def test_an_end_that_is_no_failure_has_an_exit_code_of_its_own(error: BaseException, exit_code: int, result: Result, reason: str) -> None:
    end = exit_of(raising(error))
    assert (end.exit_code, end.outcome.result, end.outcome.reason) == (exit_code, result, reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(of_workers(torch.OutOfMemoryError("CUDA")), "OutOfMemory", id="memory of a GPU"),
        pytest.param(of_workers(EvictedForMemory("the node is full")), "OutOfMemory", id="a worker that Ray evicted"),
        pytest.param(unhealthy(EvictedForMemory("the node is full")), "OutOfMemory", id="one that Ray Train found evicted"),
        pytest.param(unhealthy(actor_died(LOW_MEMORY)), "OutOfMemory", id="one that died of what Ray calls low memory"),
        pytest.param(
            unhealthy(actor_died(PROCESS_DIED.format(kind="NODE_OUT_OF_MEMORY"))), "OutOfMemory", id="one whose exit type is memory"
        ),
        pytest.param(
            unhealthy(actor_died(PROCESS_DIED.format(kind="SYSTEM_ERROR"))), "TrainingError", id="one of whose death Ray only guesses"
        ),
        pytest.param(MemoryError(), "OutOfMemory", id="memory of the driver"),
        pytest.param(of_workers(TrainingDivergedError("step 3")), "TrainingDiverged", id="divergence"),
        pytest.param(of_workers(ValueError("x"), TrainingDivergedError("step 3")), "TrainingDiverged", id="the rank that knows why"),
        pytest.param(of_workers(ExportMismatchError("merged")), "ExportMismatch", id="an export of another model"),
        pytest.param(of_workers(TornCheckpointError("differs")), "CheckpointDamaged", id="a torn checkpoint"),
        pytest.param(of_workers(PermissionError("read only")), "StorageFailed", id="the disk"),
        pytest.param(of_workers(SafetensorError("no space left")), "StorageFailed", id="the disk, as safetensors reports it"),
        pytest.param(ValueError("x"), "TrainingError", id="anything else"),
        pytest.param(SystemExit(15), "TrainingError", id="a library that exits"),
        pytest.param(RayNotStartedError("twice"), "RayNotStarted", id="Ray"),
        pytest.param(ControllerError(WorkerGroupStartupTimeoutError(2)), "RayNotStarted", id="Ray's workers"),
    ],
)
def test_a_failure_has_the_reason_that_explains_it(error: BaseException, reason: str) -> None:
    end = exit_of(raising(error))
    assert (end.exit_code, end.outcome.result, end.outcome.reason) == (EXIT_FAILURE, Result.FAILED, reason)


def test_a_rank_that_was_killed_explains_the_failure_and_not_those_that_lost_their_connection_to_it() -> None:
    lost, killed = RuntimeError("gloo: Connection reset by peer"), actor_died(PROCESS_DIED.format(kind="SYSTEM_ERROR"))
    error = of_workers(lost, WorkerHealthCheckFailedError("A worker health check failed.", killed), lost)
    outcome = exit_of(raising(error)).outcome
    assert outcome.message.startswith("rank 1 died: its process was killed, or it crashed. The actor is dead")
    assert "Worker exit type: SYSTEM_ERROR" in outcome.message
    assert outcome.message.endswith("connection error code 2. End of file.")
    assert dead_ranks(error) == [1]
    assert dead_ranks(of_workers(lost, lost)) == dead_ranks(ValueError("x")) == []


@pytest.mark.parametrize(
    ("last_words", "told"),
    [
        pytest.param(lambda error: ["step 7", f"{error}"], ["step 7", "x"], id="found"),
        pytest.param(lambda error: [], None, id="none"),
        pytest.param(lambda error: 1 / 0, None, id="an error"),
        pytest.param(lambda error: ["x" * 999], None, id="more than a record takes"),
    ],
)
def test_an_outcome_has_the_last_lines_of_what_failed_where_they_are_found(last_words: LastWords, told: list[str] | None) -> None:
    end = exit_of(raising(ValueError("x")), last_words)
    assert (end.exit_code, end.outcome.message, end.outcome.last_lines) == (EXIT_FAILURE, "ValueError: x", told)


def test_a_reason_that_a_rank_knows_comes_before_the_death_of_another() -> None:
    killed = WorkerHealthCheckFailedError("A worker health check failed.", actor_died(PROCESS_DIED.format(kind="SYSTEM_ERROR")))
    outcome = exit_of(raising(of_workers(killed, torch.OutOfMemoryError("CUDA out of memory")))).outcome
    assert (outcome.reason, outcome.message) == ("OutOfMemory", "OutOfMemoryError: CUDA out of memory")


def test_a_run_that_fails_while_another_thread_imports_ray_has_its_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ray.exceptions", "ray.train.v2._internal.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it raises ImportError
    end = exit_of(raising(OSError(28, "No space left on device")))
    assert (end.exit_code, end.outcome.reason) == (EXIT_FAILURE, "StorageFailed")


@pytest.mark.parametrize(
    "kind",
    [RayNotStartedError, MissingResultsError, HubUnavailable, ExportMismatchError, TornCheckpointError, TrainingDivergedError],
)
def test_an_exception_arrives_from_a_worker_with_its_message_and_reason(kind: type[RunError]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("why")))
    assert (type(arrived), str(arrived), arrived.reason) == (kind, "why", kind.reason)


def test_our_own_errors_are_sentences_and_others_name_their_kind() -> None:
    message = "the hub at http://127.0.0.1:9 did not answer within 1 s"
    assert exit_of(raising(HubUnavailable(message))).outcome.message == message
    assert exit_of(raising(of_workers(HubUnavailable(message)))).outcome.message == message
    assert exit_of(raising(KeyError("x"))).outcome.message == "KeyError: 'x'"


def test_a_good_end_is_a_success() -> None:
    assert exit_of(lambda: "all good").exit_code == EXIT_SUCCESS


def test_a_long_message_is_cut_to_what_a_record_holds() -> None:
    assert len(outcome_of(Result.FAILED, "TrainingError", "x" * 10_000).message) == 2048


def test_a_message_with_half_a_letter_of_a_row_is_still_a_message() -> None:
    assert outcome_of(Result.FAILED, "TrainingError", "row 3: \ud83d").message == "row 3: ?"


def test_sigterm_inside_a_library_that_takes_every_exception_for_bad_input_is_still_an_interruption() -> None:
    def library() -> str:
        try:
            raise InterruptedRunError("stopped before training began")
        except Exception as error:
            raise InputError("model.name", "cannot be loaded") from error

    assert exit_of(library).exit_code == EXIT_INTERRUPTED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrainingDivergedError("step 3: loss nan"), "step 3: loss nan"),
        (of_workers(TrainingDivergedError("step 3: loss nan"), RuntimeError("a peer is gone")), "step 3: loss nan"),
        (InputError("model", "is not there", "name another"), "model: is not there; name another"),
        (MemoryError(), None),
        (OSError("the disk is full"), None),
        (TornCheckpointError("half a checkpoint"), None),
        (HubUnavailable("no answer"), None),
        (RayNotStartedError("no Ray"), None),
        (MissingResultsError("no report"), None),
        (InterruptedRunError("stopped"), None),
        (RuntimeError("a fault of its own"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_another_attempt_would_meet_again_is_a_failure_for_good(error: Exception, said: str | None) -> None:
    assert failed_for_good(error) == said
