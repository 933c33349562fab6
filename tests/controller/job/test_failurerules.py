"""The first failure rule that matches decides about a failed attempt."""

from typing import Any

import pytest

from controller.job.evidence import Evidence
from controller.job.failurerules import judged
from finetune.api.attempts import Ending
from finetune.api.conditions import get_condition
from finetune.api.runpolicy import FREE_RETRIES, FailureRule
from finetune.api.status import AttemptOutcome, ConditionType, FailedPod
from tests.controller.job.builders import attempt, job, observed, pod, ray_job, status
from tests.controller.job.decisions import condition, decide, ended, last_attempt

NCCL = Ending(AttemptOutcome.FAILED, "TrainingError", "RuntimeError: NCCL error: unhandled system error", retry=True)
EVIDENCE = Evidence(frozenset({137}), frozenset({"Evicted"}))


def rule(action: str = "Fail", **criteria: Any) -> FailureRule:
    return FailureRule.model_validate({"action": action, **criteria})


@pytest.mark.parametrize(
    ("criteria", "matches"),
    [
        ({"exitCodes": [1, 137]}, True),
        ({"exitCodes": [1]}, False),
        ({"podReasons": ["NodeLost", "Evicted"]}, True),
        ({"podReasons": ["NodeLost"]}, False),
        ({"reasons": ["TrainingError"]}, True),
        ({"reasons": ["OutOfMemory"]}, False),
        ({"messagePattern": "NCCL error.*system"}, True),
        ({"messagePattern": "^NCCL"}, False),
        ({"exitCodes": [137], "messagePattern": "NCCL"}, True),
        ({"exitCodes": [137], "messagePattern": "CUDA"}, False),
    ],
    ids=["code", "another code", "pod", "another pod", "reason", "another reason", "message", "another message", "both", "only one"],
)
def test_a_rule_matches_where_all_that_it_names_does(criteria: dict[str, Any], matches: bool) -> None:
    assert judged(NCCL, [rule(**criteria)], EVIDENCE, freed=0).retry is not matches


def test_the_first_rule_that_matches_decides_and_is_named() -> None:
    rules = [rule("Fail", exitCodes=[1]), rule("RetryWithoutCharge", podReasons=["Evicted"]), rule("Fail", messagePattern="NCCL")]
    ending = judged(NCCL, rules, EVIDENCE, freed=0)
    assert (ending.retry, ending.free, ending.charged) == (True, True, False)
    assert ending.message.endswith("(runPolicy.failureRules[1]: RetryWithoutCharge)")


@pytest.mark.parametrize("outcome", [AttemptOutcome.SUCCEEDED, AttemptOutcome.INTERRUPTED, AttemptOutcome.SUSPENDED])
def test_what_has_not_failed_is_not_judged(outcome: AttemptOutcome) -> None:
    ending = Ending(outcome, "Interrupted", "NCCL", retry=True)
    assert judged(ending, [rule("Fail", messagePattern="NCCL")], EVIDENCE, freed=0) is ending


def test_what_is_free_is_bounded() -> None:
    free = rule("RetryWithoutCharge", messagePattern="NCCL")
    assert judged(NCCL, [free], EVIDENCE, freed=FREE_RETRIES - 1).free
    last = judged(NCCL, [free], EVIDENCE, freed=FREE_RETRIES)
    assert (last.retry, last.charged) == (True, True)
    assert f"but {FREE_RETRIES} attempts are free already" in last.message


FAILED = ray_job(1, "FAILED", "Failed", message="Job entrypoint command failed with exit code 1, last available logs:\nKeyError: 'x'")


@pytest.mark.parametrize(
    ("rules", "phase", "charged"),
    [
        ([], "Failed", None),
        ([{"action": "Retry", "exitCodes": [1]}], "Failed", None),
        ([{"action": "RetryWithoutCharge", "exitCodes": [1]}], "Retrying", False),
        ([{"action": "RetryWithoutCharge", "exitCodes": [2]}], "Failed", None),
    ],
    ids=["no rule", "charged", "free", "no rule matches"],
)
def test_the_last_attempt_is_followed_by_another_only_if_it_is_free(rules: list[Any], phase: str, charged: bool | None) -> None:
    decision = decide(observed(job(runPolicy={"maxAttempts": 1, "failureRules": rules}, status=status(attempt())), FAILED))
    assert (decision.status.phase, last_attempt(decision).charged) == (phase, charged)


def test_a_rule_may_fail_a_job_that_has_attempts_left() -> None:
    rules = [{"action": "Fail", "messagePattern": "KeyError"}]
    decision = decide(observed(job(runPolicy={"failureRules": rules}, status=status(attempt())), FAILED))
    verdict = condition(decision, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", "TrainerFailed")
    assert "runPolicy.failureRules[0]: Fail" in verdict.message


def test_a_rule_may_retry_what_fails_the_job_by_default() -> None:
    invalid = ray_job(
        1, "FAILED", "Failed", message="Job entrypoint command failed with exit code 2, last available logs:\nno route to the hub"
    )
    rules = [{"action": "Retry", "reasons": ["InputInvalid"], "messagePattern": "no route"}]
    decision = decide(observed(job(runPolicy={"failureRules": rules}, status=status(attempt())), invalid))
    assert get_condition(decision.status, ConditionType.FAILED) is None
    assert decision.status.phase == "Retrying"


@pytest.mark.parametrize(
    ("noted", "pods"),
    [
        (FailedPod(name="bot-1-worker", reason="Evicted"), []),
        (None, [pod(failed=True, reasons=("Evicted", "Error"), exit_code=137)]),
        (None, [pod(failed=True, reasons=("Error", "Evicted"), exit_code=137), pod(role="head")]),
    ],
    ids=["the pod is gone", "the pod is there", "by its second reason"],
)
def test_pods_that_are_gone_count_like_those_that_are_there(noted: FailedPod | None, pods: list[Any]) -> None:
    policy = {"failureRules": [{"action": "RetryWithoutCharge", "podReasons": ["Evicted"]}]}
    decision = decide(observed(job(runPolicy=policy, status=status(attempt(failed_pod=noted))), FAILED, pods=pods))
    assert last_attempt(decision).charged is False


def test_a_submitter_that_only_repeats_the_failure_proves_nothing() -> None:
    policy = {"failureRules": [{"action": "Fail", "podReasons": ["Error"]}]}
    pods = [pod(role="submitter", failed=True, reasons=("Error",), exit_code=1)]
    decision = decide(observed(job(runPolicy=policy, status=status(attempt())), FAILED, pods=pods))
    assert decision.status.phase == "Retrying"


def test_free_attempts_leave_the_others_their_number() -> None:
    known = status(*(ended(n, AttemptOutcome.FAILED).model_copy(update={"charged": False}) for n in (1, 2, 3)), attempt(4))
    failed = ray_job(4, "FAILED", "Failed", message="exit code 1")
    decision = decide(observed(job(runPolicy={"maxAttempts": 2}, status=known), failed))
    assert decision.status.phase == "Retrying"
