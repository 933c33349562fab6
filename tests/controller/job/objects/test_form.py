"""What an attempt is made of where heads share an account, and how a stored RayJob shows it."""

import json
from typing import Any

import pytest

from controller.job.objects.attempt import objects_of
from controller.job.objects.configmap import config_map, progress_config_map
from controller.job.objects.form import CONFIG_ANNOTATION, SHARED_ACCOUNT, Form, form_of
from controller.job.objects.rayjob import ray_job
from controller.job.objects.rbac import shared_role
from controller.job.objects.safety import fields_unsafe
from controller.job.parsing import ray_job_from
from controller.projections import kept_of_ray_job
from tests.controller.job.builders import NOW, Settings, job

SMALL = Form(config_inside=True, shared_account=True)
FORMS = [Form(), Form(shared_account=True), SMALL]


def stored(form: Form) -> dict[str, Any]:
    item = ray_job(job(), 1, Settings(), {}, form)
    item["metadata"] |= {"uid": "u", "resourceVersion": "7", "creationTimestamp": NOW.isoformat()}
    return item


def test_an_attempt_in_its_small_form_is_one_object() -> None:
    assert [(each.resource.kind, each.name) for each in objects_of(job(), 1, Settings(), {}, SMALL)] == [("RayJob", "bot-1")]


def test_with_a_large_configuration_it_is_three() -> None:
    names = [each.name for each in objects_of(job(), 1, Settings(), {}, Form(shared_account=True))]
    assert names == ["bot-1-config", "bot-1-progress-0123abcd", "bot-1"]


def test_the_configuration_inside_is_the_one_that_the_config_map_would_have() -> None:
    head = stored(SMALL)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    inside = json.loads(head["metadata"]["annotations"][CONFIG_ANNOTATION])
    metadata = inside["progress"].pop("metadata")
    assert inside == json.loads(config_map(job(), 1)["data"]["config.json"])
    assert {"name": inside["progress"]["configMap"], "namespace": "team", **metadata} == progress_config_map(job(), 1)["metadata"]
    [mount] = [each for each in head["spec"]["containers"][0]["volumeMounts"] if each["name"] == "finetune-config"]
    assert mount == {"name": "finetune-config", "mountPath": "/etc/finetune", "readOnly": True}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_stored_ray_job_shows_its_form_and_so_does_what_a_cache_keeps_of_it(form: Form) -> None:
    item = stored(form)
    assert form_of(item) == form
    assert ray_job_from(kept_of_ray_job(item), "bot").form == form
    assert fields_unsafe(item) == []


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_head_with_another_account_is_unsafe_in_every_form(form: Form) -> None:
    item = stored(form)
    item["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["serviceAccountName"] = "default"
    assert fields_unsafe(item) == ["spec.rayClusterSpec.headGroupSpec.template.spec.serviceAccountName"]


@pytest.mark.parametrize("item", [{}, {"spec": None}, {"spec": {"rayClusterSpec": {"headGroupSpec": {"template": []}}}}, {"form": 3}])
def test_what_is_no_ray_job_of_ours_has_the_form_of_old(item: dict[str, Any]) -> None:
    assert form_of(item) == Form()


def test_the_shared_account_may_patch_and_not_read() -> None:
    role = shared_role("team")
    assert role["metadata"]["name"] == SHARED_ACCOUNT
    assert role["rules"] == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]}]
