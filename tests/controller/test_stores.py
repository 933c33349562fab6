from typing import Any

import pytest

from controller.kinds import RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, Resource
from controller.stores import CLAIM_INDEX, EARLIER_INDEX, OWNER_INDEX, Stores


def named(name: str, namespace: str = "team-a", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, **fields.pop("metadata", {})}, **fields}


def test_children_are_found_by_the_job_that_their_label_names() -> None:
    stores = Stores()
    ours = {"labels": {"finetune.dev/job": "bot"}}
    stores.pods.put(named("head", metadata=ours))
    stores.pods.put(named("elsewhere", namespace="team-b", metadata=ours))
    stores.pods.put(named("unlabeled"))

    assert [pod["metadata"]["name"] for pod in stores.pods.by_index(OWNER_INDEX, "team-a/bot")] == ["head"]


def test_children_are_found_by_the_job_that_owns_them_whatever_their_label_says() -> None:
    stores = Stores()
    owner = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "name": "bot", "uid": "u"}
    other = {"apiVersion": "batch/v1", "kind": "Job", "name": "bot", "uid": "v"}
    stores.ray_jobs.put(named("bot-1", metadata={"ownerReferences": [owner], "labels": {"finetune.dev/job": "other"}}))
    stores.ray_jobs.put(named("bot-2", metadata={"ownerReferences": [other], "labels": {}}))

    for key in ("team-a/bot", "team-a/other"):
        assert [item["metadata"]["name"] for item in stores.ray_jobs.by_index(OWNER_INDEX, key)] == ["bot-1"]


def test_a_job_is_found_by_every_claim_that_it_names_anywhere() -> None:
    stores = Stores()
    spec = {
        "model": {"persistentVolumeClaim": {"claimName": "models", "path": "base"}},
        "data": {"train": [{"persistentVolumeClaim": {"claimName": "sets"}}, {"configMap": {"name": "rows"}}]},
        "output": {"persistentVolumeClaim": {"claimName": "models"}},
    }
    stores.jobs.put(named("bot", spec=spec))

    for claim in ("models", "sets"):
        assert len(stores.jobs.by_index(CLAIM_INDEX, f"team-a/{claim}")) == 1
    assert stores.jobs.by_index(CLAIM_INDEX, "team-b/models") == []
    assert stores.jobs.by_index(CLAIM_INDEX, "team-a/rows") == []


@pytest.mark.parametrize("resource", [RAY_JOBS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS], ids=str)
def test_each_kind_that_an_attempt_creates_by_name_has_a_cache_of_its_own(resource: Resource) -> None:
    stores = Stores()
    stores.cache_of(resource).put(named("bot-1"))

    caches = [stores.ray_jobs, stores.progress, stores.service_accounts, stores.roles, stores.role_bindings]
    assert [cache is stores.cache_of(resource) for cache in caches].count(True) == 1
    assert sum(len(cache) for cache in caches) == 1


def test_two_processes_share_no_store() -> None:
    assert Stores().jobs is not Stores().jobs


def test_a_job_is_found_by_the_jobs_that_it_starts_from_and_by_the_claims_that_those_wrote_to() -> None:
    stores = Stores()
    spec = {"model": {"fineTuneJob": {"name": "first"}}, "continueFrom": {"fineTuneJob": "zero"}}
    stores.jobs.put(named("bot", spec=spec, status={"earlierJobs": [{"name": "first", "output": {"claimName": "archive"}}]}))
    stores.jobs.put(named("odd", spec={"model": {"fineTuneJob": {}}, "continueFrom": {}}))

    for name in ("first", "zero"):
        assert [item["metadata"]["name"] for item in stores.jobs.by_index(EARLIER_INDEX, f"team-a/{name}")] == ["bot"]
    assert stores.jobs.by_index(EARLIER_INDEX, "team-b/first") == []
    assert len(stores.jobs.by_index(CLAIM_INDEX, "team-a/archive")) == 1
