"""The rights that the manifests grant are those that the controller asks for, in both directions.

That a real API server sees it in the same way is tested in tests/packaging/test_rights.py.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from controller.job.names import labels
from controller.job.objects.policy import POLICIES, policy
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime import elector
from controller.runtime.resources import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    RESOURCE_CLAIM_TEMPLATES,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
)
from tests.controller.job.builders import UID
from tests.controller.job.world import OWNER
from tests.controller.runtime.builders import until
from tests.controller.test_main import holder, job, running, with_inputs
from tests.fakes import CREATED, FakeApi
from tests.fakewire import Asked, as_asked, asked
from tests.repository import REPOSITORY

MANIFESTS = REPOSITORY / "manifests" / "rbac"

NOT_ASKED_FOR: set[Asked] = {
    # The controller grants it to the job's account, and RBAC lets nobody grant a right that they do not have.
    ("", "configmaps", "patch"),
    # Checked by the API server where owner references are guarded.
    ("finetune.dev", "finetunejobs/finalizers", "update"),
}


def granted(name: str) -> Iterator[Asked]:
    for item in yaml.safe_load_all((MANIFESTS / name).read_text()):
        for rule in item.get("rules", []):
            yield from ((g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"])


def already_there(name: str) -> dict[str, Any]:
    """A child that an earlier pass has created and the controller does not remember."""
    return {"metadata": {"name": name, "namespace": "team-a", "labels": labels("bot", UID, 1), "ownerReferences": [OWNER]}}


async def test_every_right_that_is_granted_is_used_and_no_other_is_asked_for() -> None:
    api = with_inputs(FakeApi())
    for kind in (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS):
        api.put(kind, already_there("bot-1"))
    api.put(CONFIG_MAPS, already_there("bot-1-config"))
    api.put(POLICIES, policy("ours"))  # without its binding, so that an attempt takes all that it may
    one = {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}}}
    api.put(RESOURCE_CLAIM_TEMPLATES, {"metadata": {"name": "gpus", "namespace": "team-a"}, "spec": one})
    async with running(api, driver_policy="ours", gpu_claim_template="gpus"):
        whole = job()
        spec = {**whole["spec"], "resources": {"gpus": 1}}
        api.put(FINE_TUNE_JOBS, {**whole, "metadata": {**whole["metadata"], "uid": UID}, "spec": spec})
        await until(lambda: bool(api.objects(RAY_JOBS)), seconds=20)
        stored = api.objects(FINE_TUNE_JOBS)[0]
        api.put(FINE_TUNE_JOBS, {**stored, "spec": {**stored["spec"], "runPolicy": {"suspend": True}}})
        await until(lambda: not api.objects(RAY_JOBS), seconds=20)
        await until(lambda: bool(api.objects(EVENTS)), seconds=20)
        stored = api.objects(FINE_TUNE_JOBS)[0]
        over = {"type": "Failed", "status": "True", "reason": "AttemptsExhausted", "message": "", "lastTransitionTime": CREATED}
        ended = {"number": 1, "rayJobName": "bot-1", "outcome": "Failed", "endTime": CREATED}
        spec = {**stored["spec"], "runPolicy": {"ttlSecondsAfterFinished": 0}}
        api.put(FINE_TUNE_JOBS, {**stored, "spec": spec, "status": {"conditions": [over], "attempts": [ended]}})
        await until(lambda: not api.objects(FINE_TUNE_JOBS), seconds=20)
    assert api.objects(LEASES)
    assert holder(api) == ""

    assert {asked(request) for request in api.requests} | NOT_ASKED_FOR == {*granted("rights.yaml"), *granted("leader.yaml")}


def test_the_elector_has_the_rights_that_it_declares() -> None:
    assert set(granted("leader.yaml")) == as_asked(elector.RIGHTS)
