"""KubeRay's words, and why attempts end."""

import time
from typing import Any

import pytest

from controller.job.facts import PodFacts
from controller.job.failures import (
    BY_DEPLOYMENT_STATUS,
    CAUSE_MAX_LENGTH,
    WHEN_COMPLETE,
    WHILE_RUNNING,
    RayJobState,
    deleted_ending,
    ending_of,
    log_tail,
    ray_job_state,
)
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.record import Outcome, Result
from finetune.api.status import AttemptOutcome
from tests.controller.job.builders import NOW, attempt, pod, ray_job, status

EXITED = "Job entrypoint command failed with exit code {}, last available logs (truncated to 20,000 chars):\nlast line"


# The constants of apis/ray/v1/rayjob_types.go in KubeRay 1.6.2.
JOB_STATUSES = {"", "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"}
DEPLOYMENT_STATUSES = {
    "", "Initializing", "Running", "Complete", "Failed", "ValidationFailed", "Suspending", "Suspended", "Retrying", "Waiting",
}  # fmt: skip


def test_every_word_of_kuberay_has_a_row() -> None:
    assert set(BY_DEPLOYMENT_STATUS) == DEPLOYMENT_STATUSES
    assert set(WHILE_RUNNING) == set(WHEN_COMPLETE) == JOB_STATUSES


def test_a_message_of_any_length_is_looked_through_at_once() -> None:
    message = "Job failed. last available logs: " + "password " * 300_000 + "\nHF_TOKEN=hf_abcdefghijklmnopqrst is wrong"
    failed = ray_job(1, "FAILED", "Failed", message=message)
    began = time.process_time()
    found = ending_of(failed, None, ())
    tail = log_tail(failed, ())
    assert time.process_time() - began < 1.0
    assert tail[-1] == "HF_TOKEN=[redacted] is wrong"
    assert found.message.endswith(tail[-1])


@pytest.mark.parametrize("job_status", sorted(JOB_STATUSES | {"NEW IN 1.9"}))
@pytest.mark.parametrize("deployment_status", sorted(DEPLOYMENT_STATUSES | {"NewIn19"}))
def test_any_two_words_make_some_state(job_status: str, deployment_status: str) -> None:
    state = ray_job_state(ray_job(1, job_status, deployment_status))
    assert state.final is (deployment_status in {"Complete", "Failed", "ValidationFailed"} and state is not RayJobState.UNKNOWN)


@pytest.mark.parametrize(
    ("job_status", "deployment_status", "state"),
    [
        ("", "", RayJobState.STARTING),
        ("", "Initializing", RayJobState.STARTING),
        ("", "Waiting", RayJobState.STARTING),
        ("FAILED", "Retrying", RayJobState.STARTING),
        ("", "Running", RayJobState.STARTING),
        ("PENDING", "Running", RayJobState.STARTING),
        ("RUNNING", "Running", RayJobState.RUNNING),
        ("SUCCEEDED", "Running", RayJobState.RUNNING),
        ("FAILED", "Running", RayJobState.RUNNING),
        ("STOPPED", "Running", RayJobState.RUNNING),
        ("SUCCEEDED", "Complete", RayJobState.SUCCEEDED),
        ("STOPPED", "Complete", RayJobState.FAILED),
        ("FAILED", "Complete", RayJobState.FAILED),
        ("RUNNING", "Complete", RayJobState.FAILED),
        ("PENDING", "Complete", RayJobState.FAILED),
        ("", "Complete", RayJobState.FAILED),
        ("FAILED", "Failed", RayJobState.FAILED),
        ("RUNNING", "Failed", RayJobState.FAILED),
        ("SUCCEEDED", "Failed", RayJobState.FAILED),
        ("", "ValidationFailed", RayJobState.INVALID),
        ("RUNNING", "Suspending", RayJobState.SUSPENDED),
        ("", "Suspended", RayJobState.SUSPENDED),
        ("RUNNING", "Baking", RayJobState.UNKNOWN),
        ("DREAMING", "Running", RayJobState.UNKNOWN),
        ("DREAMING", "Complete", RayJobState.UNKNOWN),
    ],
)
def test_two_words_make_one_state(job_status: str, deployment_status: str, state: RayJobState) -> None:
    assert ray_job_state(ray_job(1, job_status, deployment_status)) is state


def outcome(result: str, reason: str = "SomeReason", message: str = "its words") -> Outcome:
    return Outcome.model_validate({"result": result, "reason": reason, "message": message})


@pytest.mark.parametrize(
    ("facts", "last_word", "outcome_", "reason", "retry"),
    [
        ({"job_status": "SUCCEEDED", "deployment_status": "Complete"}, None, "Succeeded", "Succeeded", False),
        ({}, outcome("InputInvalid"), "Failed", "SomeReason", False),
        ({}, outcome("Failed"), "Failed", "SomeReason", True),
        ({}, outcome("Failed", "TrainingDiverged"), "Failed", "TrainingDiverged", False),
        ({}, outcome("Failed", "GeneralBudgetExceeded"), "Failed", "GeneralBudgetExceeded", False),
        ({}, outcome("Failed", "ExportMismatch"), "Failed", "ExportMismatch", False),
        ({}, outcome("Interrupted"), "Interrupted", "SomeReason", True),
        ({"message": EXITED.format(2)}, None, "Failed", "InputInvalid", False),
        ({"message": EXITED.format(3)}, None, "Interrupted", "Interrupted", True),
        ({"message": EXITED.format(1)}, None, "Failed", "TrainerFailed", True),
        ({"message": EXITED.format(-9)}, None, "Failed", "TrainerKilled", True),
        ({"message": EXITED.format(137)}, None, "Failed", "TrainerKilled", True),
        ({"message": EXITED.format(1)}, outcome("Succeeded"), "Failed", "TrainerFailed", True),
        ({"reason": "SubmissionFailed", "message": "no head"}, None, "Failed", "SubmissionFailed", True),
        ({"reason": "what is this?"}, None, "Failed", "TrainerFailed", True),
        ({"job_status": "STOPPED", "deployment_status": "Complete"}, None, "Failed", "RayJobStopped", True),
        ({"deployment_status": "ValidationFailed", "message": "name", "cluster": ""}, None, "Failed", "RayJobInvalid", False),
        ({"deployment_status": "ValidationFailed", "message": "ttl"}, None, "Failed", "RayJobInvalid", True),
        ({"deployment_status": "ValidationFailed", "message": "ttl"}, outcome("InputInvalid"), "Failed", "SomeReason", False),
        ({"deployment_status": "ValidationFailed", "message": "ttl"}, outcome("Succeeded"), "Succeeded", "Succeeded", False),
    ],
    ids=[
        "success", "input at fault", "failed in own words", "diverged", "no weights within a budget", "an export of another model",
        "asked to stop", "exit 2", "exit 3", "exit 1", "killed", "killed under a shell", "failed after its last word",
        "KubeRay's reason", "a reason that is none", "stopped", "refused by KubeRay",
        "refused once it ran", "refused after the input was", "refused after its success",
    ],
)  # fmt: skip
def test_an_ending_has_outcome_reason_and_whether_another_attempt_may_help(
    facts: dict[str, Any], last_word: Outcome | None, outcome_: str, reason: str, retry: bool
) -> None:
    final = ray_job(1, **{"job_status": "FAILED", "deployment_status": "Failed", "reason": "AppFailed"} | facts)
    ending = ending_of(final, last_word, [])
    assert (ending.outcome, ending.reason, ending.retry) == (AttemptOutcome(outcome_), reason, retry)
    assert ending.message or ending.outcome is AttemptOutcome.SUCCEEDED


def test_a_pod_that_ran_out_of_memory_explains_a_failure_that_nobody_else_explains() -> None:
    final = ray_job(1, "FAILED", "Failed", message=EXITED.format(1))
    ending = ending_of(final, None, [pod(), pod(role="head", out_of_memory=True)])
    assert ending.reason == "OutOfMemory"
    assert "bot-1-head" in ending.message
    assert "resources.memory" in ending.message


@pytest.mark.parametrize(
    ("reason", "concluded"), [("TrainingError", "OutOfMemory"), ("NonFiniteLoss", "NonFiniteLoss")], ids=["no better word", "a better one"]
)
def test_a_worker_that_ran_out_of_memory_explains_what_the_driver_cannot(reason: str, concluded: str) -> None:
    ending = ending_of(ray_job(1, "FAILED", "Failed"), outcome("Failed", reason, "ActorDiedError"), [pod(out_of_memory=True)])
    assert (ending.outcome, ending.reason, ending.retry) == (AttemptOutcome.FAILED, concluded, True)
    assert "ActorDiedError" in ending.message
    assert ("bot-1-worker ran out of memory" in ending.message) is (concluded == "OutOfMemory")


def test_the_end_of_a_long_log_is_kept() -> None:
    final = ray_job(1, "FAILED", "Failed", message=EXITED.format(1) + "x" * 20_000 + " the cause")
    message = ending_of(final, None, []).message
    assert len(message) < 1100
    assert message.endswith("the cause")


@pytest.mark.parametrize("rest", ["", "x" * (CAUSE_MAX_LENGTH - 12)], ids=["whole", "cut in the middle of the token"])
def test_no_token_of_a_log_reaches_the_status(rest: str) -> None:
    final = ray_job(1, "FAILED", "Failed", message=EXITED.format(1) + "refused hf_AbCdEfGhIjKlMnOpQrStUv " + rest)
    ended = attempts.end(status(attempt()), ending_of(final, None, []), NOW)
    assert ended.attempts is not None
    assert ended.attempts[-1].message
    assert "OpQrStUv" not in ended.attempts[-1].message


def test_no_token_of_the_trainers_last_word_reaches_the_status() -> None:
    final = ray_job(1, "FAILED", "Failed")
    last_word = outcome("Failed", message="401 for Bearer abcdefgh12345678")
    ended = attempts.end(status(attempt()), ending_of(final, last_word, []), NOW)
    assert ended.attempts is not None
    assert ended.attempts[-1].message == "401 for [redacted]"


@pytest.mark.parametrize(("outcome_", "charged"), [("Failed", True), ("Suspended", False), ("Interrupted", False), ("Succeeded", False)])
def test_only_failures_are_charged(outcome_: str, charged: bool) -> None:
    assert Ending(AttemptOutcome(outcome_), "Reason", "").charged is charged


RAY_SAYS = "Job entrypoint command failed with exit code {}, last available logs (truncated to 20,000 chars):\n"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (RAY_SAYS.format(1), 1),
        (RAY_SAYS.format(-9), 137),
        (RAY_SAYS.format(143), 143),
        ("exit code " + "9" * 5000, None),
        ("no code", None),
    ],
    ids=["error", "killed", "under a shell", "nonsense", "none"],
)
def test_the_exit_code_is_as_a_shell_has_it(message: str, code: int | None) -> None:
    assert ending_of(ray_job(1, "FAILED", "Failed", message=message), None, []).exit_code == code


LOG = "\n".join(["\x1b[31mstep 1\x1b[0m", "", *(f"line {number}" for number in range(40)), "KeyError: hf_AbCdEfGhIjKlMnOpQrStUv"])
SUBMITTER = pod(role="submitter", failed=True, reasons=("Error",), last_words="from the submitter")
WORKER = pod(failed=True, reasons=("Error",), last_words="from the worker")


@pytest.mark.parametrize(
    ("message", "pods", "last"),
    [
        (RAY_SAYS.format(1) + LOG, [SUBMITTER], "KeyError: [redacted]"),
        ("", [WORKER, SUBMITTER], "from the submitter"),
        (RAY_SAYS.format(1), [WORKER], "from the worker"),
    ],
    ids=["of the driver", "as the submitter saw it", "of a pod"],
)
def test_the_last_lines_are_the_drivers_else_those_of_a_pod_that_failed(message: str, pods: list[PodFacts], last: str) -> None:
    ended = attempts.end(status(attempt()), ending_of(ray_job(1, "FAILED", "Failed", message=message), None, pods), NOW)
    assert ended.attempts is not None
    lines = ended.attempts[-1].log_tail or []
    assert lines[-1] == last
    assert len(lines) == min(20, len(lines))
    assert all(lines)


def test_the_last_lines_are_those_that_the_trainer_told_where_it_did_and_are_trusted_no_more_than_others() -> None:
    told = Outcome(
        result=Result.FAILED, reason="TrainingError", message="rank 1 died", last_lines=["step 7", "\x1b[31mhf_AbCdEfGhIjKlMnOpQr", "\x07"]
    )
    failed = ray_job(1, "FAILED", "Failed", message=RAY_SAYS.format(1) + LOG)
    for ending in (ending_of(failed, told, [WORKER]), deleted_ending("bot-1", told, [WORKER])):
        ended = attempts.end(status(attempt()), ending, NOW)
        assert ended.attempts is not None
        assert ended.attempts[-1].log_tail == ["step 7", "[redacted]", " "]


def test_a_log_without_bounds_or_of_one_endless_line_stays_small() -> None:
    final = ray_job(1, "FAILED", "Failed", message=RAY_SAYS.format(1) + "x" * 20_000 + "\n" + "\x07\n" * 5000)
    ended = attempts.end(status(attempt()), ending_of(final, None, []), NOW)
    assert ended.attempts is not None
    lines = ended.attempts[-1].log_tail or []
    assert len(lines) <= 20
    assert all(len(line) <= 240 and line.isprintable() for line in lines)


def test_only_the_newest_attempts_keep_their_log() -> None:
    known = status()
    for number in range(1, 6):
        known = attempts.begin(known, "bot")
        known = attempts.end(known, ending_of(ray_job(number, "FAILED", "Failed", message=RAY_SAYS.format(1) + "KeyError"), None, []), NOW)
    assert [each.number for each in known.attempts or [] if each.log_tail] == [3, 4, 5]


def test_a_success_keeps_no_log() -> None:
    ending = ending_of(ray_job(1, "SUCCEEDED", "Complete", message=RAY_SAYS.format(0) + LOG), None, [])
    assert (ending.log_tail, ending.exit_code) == ((), None)
