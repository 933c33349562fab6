"""A pod that Kubernetes itself ended explains a failure that the trainer cannot."""

from typing import Any

import pytest

from controller.job.evidence import Evidence, explained
from finetune.api.attempts import Ending
from finetune.api.status import AttemptOutcome, FailedPod
from tests.controller.job.builders import attempt, job, observed, pod, ray_job, record_text, status
from tests.controller.job.decisions import decide, last_attempt

DRAINED = pod(node="gpu-3", failed=True, reasons=("EvictionByEvictionAPI", "Error"), exit_code=137)
LOST = FailedPod(name="bot-1-worker", node="gpu-3", reason="NodeLost")
UNEXPLAINED = Ending(AttemptOutcome.FAILED, "TrainingError", "ActorDiedError: the worker died", retry=True, exit_code=1)


def test_the_evidence_is_what_pods_that_train_died_of() -> None:
    pods = [DRAINED, pod(role="head"), pod(role="submitter", failed=True, reasons=("Completed",), exit_code=9)]
    evidence = Evidence.of(UNEXPLAINED, attempt(failed_pod=LOST), pods)
    assert evidence.exit_codes == {1, 137}
    assert evidence.pod_reasons == {"EvictionByEvictionAPI", "Error", "NodeLost"}


@pytest.mark.parametrize(
    ("noted", "pods", "words"),
    [
        (None, [DRAINED], "pod bot-1-worker on node gpu-3: EvictionByEvictionAPI; ActorDiedError"),
        (LOST, [], "pod bot-1-worker on node gpu-3: NodeLost; ActorDiedError"),
        (LOST, [DRAINED], "NodeLost"),
    ],
    ids=["there", "gone", "the first one counts"],
)
def test_an_attempt_that_lost_a_pod_with_its_node_is_told_from_one_that_failed(noted: Any, pods: list[Any], words: str) -> None:
    outcome = {"result": "Failed", "reason": "TrainingError", "message": "ActorDiedError: the worker died"}
    known, final = status(attempt(failed_pod=noted)), ray_job(1, "FAILED", "Failed")
    decision = decide(observed(job(status=known), final, pods=pods, record=record_text(outcome=outcome)))
    assert last_attempt(decision).reason == "PodDisrupted"
    assert words in (last_attempt(decision).message or "")
    assert decision.status.phase == "Retrying"


@pytest.mark.parametrize("said", ["SubmissionFailed", "JobDeploymentStatusTransitionGracePeriodExceeded"])
@pytest.mark.parametrize(("noted", "reason"), [(LOST, "PodDisrupted"), (None, None)], ids=["head lost", "head there"])
def test_kuberay_that_finds_the_head_no_more_does_not_know_why(said: str, noted: Any, reason: str | None) -> None:
    final = ray_job(1, "RUNNING", "Failed", reason=said, message="Job submission has failed.")
    decision = decide(observed(job(status=status(attempt(failed_pod=noted))), final))
    assert last_attempt(decision).reason == (reason or said)


KILLED = FailedPod(name="bot-1-worker", node="gpu-3", reason="OOMKilled", exit_code=137)
MORE_MEMORY: dict[str, Any] = {"runPolicy": {"failureRules": [{"reasons": ["OutOfMemory"], "action": "Fail"}]}}


@pytest.mark.parametrize(
    "outcome", [{"result": "Failed", "reason": "TrainingError", "message": "ActorDiedError"}, None], ids=["generic", "none"]
)
@pytest.mark.parametrize("pods", [[], [DRAINED]], ids=["gone", "another is drained"])
def test_a_pod_that_ran_out_of_memory_and_is_gone_still_explains_the_failure(outcome: Any, pods: list[Any]) -> None:
    known, final = status(attempt(failed_pod=KILLED)), ray_job(1, "FAILED", "Failed")
    text = record_text(outcome=outcome) if outcome else None
    decision = decide(observed(job(**MORE_MEMORY, status=known), final, pods=pods, record=text))
    last = last_attempt(decision)
    assert last.reason == "OutOfMemory"
    assert "pod bot-1-worker ran out of memory; raise resources.memory" in (last.message or "")
    assert "runPolicy.failureRules[0]: Fail" in (last.message or "")
    assert decision.status.phase == "Failed"


def test_what_failed_for_a_reason_of_its_own_did_not_run_out_of_memory() -> None:
    ending = Ending(AttemptOutcome.FAILED, "TrainingDiverged", "the loss is no number")
    assert explained(ending, Evidence.of(ending, attempt(failed_pod=KILLED), [])) is ending


@pytest.mark.parametrize(
    ("ending", "pods"),
    [
        (UNEXPLAINED, [pod(failed=True, reasons=("Error",), exit_code=1)]),
        (Ending(AttemptOutcome.FAILED, "TrainingDiverged", "the loss is no number"), [DRAINED]),
        (Ending(AttemptOutcome.INTERRUPTED, "Interrupted", "asked to stop", retry=True), [DRAINED]),
        (Ending(AttemptOutcome.SUCCEEDED, "Succeeded", ""), [DRAINED]),
    ],
    ids=["an error of its own", "explained already", "interrupted", "succeeded"],
)
def test_what_has_a_reason_of_its_own_keeps_it(ending: Ending, pods: list[Any]) -> None:
    assert explained(ending, Evidence.of(ending, attempt(), pods)) is ending
