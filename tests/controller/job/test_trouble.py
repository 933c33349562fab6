"""Why an attempt does not run yet."""

import pytest

from finetune.api.conditions import Reason
from finetune.api.status import ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, pod, ray_job, status
from tests.controller.job.decisions import after, condition, decide


def test_a_missing_secret_is_seen_from_the_pod_that_cannot_start() -> None:
    waits = pod(role="head", waiting_reason="CreateContainerConfigError", waiting_message='secret "hub" not found')
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=[waits]))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.SECRET_MISSING)
    assert 'secret "hub" not found' in accepted.message
    there = decide(observed(job(status=after(decision)), ray_job(), pods=[pod(role="head")]))
    assert condition(there, ConditionType.ACCEPTED).status == "True"


def test_a_pod_that_finds_no_node_says_why_the_job_does_not_run() -> None:
    waits = pod(waiting_reason="Unschedulable", waiting_message="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=[waits]))
    assert "Insufficient nvidia.com/gpu" in condition(decision, ConditionType.RUNNING).message


@pytest.mark.parametrize(
    ("waiting", "named"),
    [
        ({"submitter": "ImagePullBackOff", "worker": "ImagePullBackOff", "head": "ImagePullBackOff"}, "head"),
        ({"worker": "Unschedulable", "head": "Unschedulable"}, "worker"),
        ({"worker": "ImagePullBackOff", "head": "Unschedulable"}, "head"),
        ({"submitter": "Unschedulable", "worker": "Unschedulable"}, "worker"),
        ({"submitter": "Unschedulable"}, "submitter"),
        ({"other": "Unschedulable", "submitter": "Unschedulable"}, "submitter"),
        ({"submitter": "CreateContainerConfigError", "head": "Unschedulable"}, "submitter"),
    ],
    ids=[
        "head first", "the worker that the head follows", "a head alone without a node", "worker before submitter", "submitter",
        "a role of another time", "what the user must fix",
    ],
)  # fmt: skip
def test_of_several_pods_in_trouble_the_one_that_explains_most_is_named(waiting: dict[str, str], named: str) -> None:
    pods = [pod(role=role, waiting_reason=reason, waiting_message="words") for role, reason in waiting.items()]
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=pods))
    assert f"pod bot-1-{named} waits" in condition(decision, ConditionType.RUNNING).message


def test_a_pod_that_gets_neither_its_volumes_nor_its_image_is_named_after_two_minutes() -> None:
    pods = [pod(preparing_since=NOW), pod(role="head", preparing_since=NOW)]
    what = observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=pods)
    early = decide(what, 30)
    assert "KubeRay is starting the Ray cluster" in condition(early, ConditionType.RUNNING).message
    assert early.requeue_after == 90
    late = decide(what, 120)
    message = condition(late, ConditionType.RUNNING).message
    assert "pod bot-1-head has been waiting for its volumes or its image since 12:00:00 UTC" in message
    assert "`kubectl describe pod bot-1-head`" in message
    assert late.requeue_after is None


def test_a_pod_whose_claim_is_not_made_is_named_after_two_minutes_before_the_head_that_follows_it() -> None:
    lost = pod(role="head", waiting_reason="Unschedulable", waiting_message="didn't match pod affinity rules")
    for pods in ([pod(unclaimed_since=NOW)], [pod(unclaimed_since=NOW), lost]):
        what = observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=pods)
        early = decide(what, 30)
        assert "ResourceClaim" not in condition(early, ConditionType.RUNNING).message
        assert early.requeue_after == 90
        message = condition(decide(what, 120), ConditionType.RUNNING).message
        assert "pod bot-1-worker has been waiting for its ResourceClaim since 12:00:00 UTC" in message
        assert "`kubectl describe pod bot-1-worker`" in message


def test_what_a_head_lacks_itself_comes_before_a_claim_that_is_not_made() -> None:
    no_image = pod(role="head", waiting_reason="ImagePullBackOff", waiting_message="words")
    what = observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=[pod(unclaimed_since=NOW), no_image])
    assert "pod bot-1-head waits: ImagePullBackOff" in condition(decide(what, 120), ConditionType.RUNNING).message
