"""The real API server refuses malformed jobs in words that name the field and the fix."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from finetune.api import crd
from finetune.api.patterns import Pattern
from tests.builders import resource
from tests.cluster.api import ApiError, ApiServer
from tests.cluster.controlplane import ControlPlane
from tests.finetune.api.hubandpaths import MISLEADING, NOT_REVISIONS, REVISIONS, WORDS
from tests.finetune.api.malformed import MALFORMED, Malformed

pytestmark = pytest.mark.integration

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
JOBS = "/apis/finetune.dev/v1alpha1/namespaces/default/finetunejobs"
STRICT = "?fieldValidation=Strict"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> ApiServer:
    control_plane.api.apply(DEFINITION, crd.manifest_text().encode())
    control_plane.api.wait_for(DEFINITION, "Established")
    return control_plane.api


@pytest.fixture
def existing(api: ApiServer) -> Iterator[str]:
    name = f"bot-{uuid.uuid4().hex[:6]}"
    api.request("POST", JOBS + STRICT, resource(name, distributed={"workers": 2}))
    yield f"{JOBS}/{name}"
    api.request("DELETE", f"{JOBS}/{name}")


def refusal(api: ApiServer, method: str, path: str, body: dict[str, Any], content_type: str = "application/json") -> str:
    with pytest.raises(ApiError) as raised:
        api.request(method, path, body, content_type)
    assert raised.value.status in (400, 422), str(raised.value)
    return str(raised.value)


def test_the_definition_is_established_without_complaint(api: ApiServer) -> None:
    conditions = {c["type"]: c["status"] for c in api.get(DEFINITION)["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.parametrize("malformed", MALFORMED, ids=lambda case: case.name)
def test_a_malformed_job_is_refused_with_field_and_fix(api: ApiServer, malformed: Malformed) -> None:
    message = refusal(api, "POST", JOBS + STRICT, malformed.job)
    for part in malformed.says:
        assert part in message


@pytest.mark.parametrize("path", WORDS, ids=ascii)
def test_a_path_may_be_in_any_script(api: ApiServer, path: str) -> None:
    output = {"persistentVolumeClaim": {"claimName": "models", "path": path}}
    api.request("POST", f"{JOBS}{STRICT}&dryRun=All", resource(output=output))


@pytest.mark.parametrize("character", MISLEADING, ids=ascii)
def test_a_path_that_misleads_is_refused(api: ApiServer, character: str) -> None:
    output = {"persistentVolumeClaim": {"claimName": "models", "path": f"a{character}b"}}
    assert "no control characters" in refusal(api, "POST", f"{JOBS}{STRICT}&dryRun=All", resource(output=output))


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_name_of_a_commit_branch_or_tag_is_taken(api: ApiServer, revision: str) -> None:
    api.request("POST", f"{JOBS}{STRICT}&dryRun=All", resource(model={"name": "org/model", "revision": revision}))


@pytest.mark.parametrize("revision", NOT_REVISIONS, ids=ascii)
def test_what_would_leave_its_folder_or_mislead_is_no_revision(api: ApiServer, revision: str) -> None:
    message = refusal(api, "POST", f"{JOBS}{STRICT}&dryRun=All", resource(model={"name": "org/model", "revision": revision}))
    assert "spec.model.revision" in message


def test_there_are_enough_malformed_jobs() -> None:
    assert len(MALFORMED) >= 15


def test_a_good_job_gets_scalar_defaults_and_no_sections(api: ApiServer, existing: str) -> None:
    spec = api.get(existing)["spec"]
    assert spec["training"]["learningRate"] == 2e-4
    assert spec["distributed"] == {"workers": 2}
    assert "resources" not in spec


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"training": {"learningRate": 1e-3}}, "spec.training: Invalid value: training: cannot be changed once the job exists"),
        ({"distributed": {"workers": 4}}, "distributed: cannot be changed"),
        ({"distributed": None}, "distributed: cannot be changed"),
        ({"evaluation": {}}, "evaluation: cannot be changed"),
        ({"output": {"persistentVolumeClaim": {"path": "elsewhere"}}}, "output: cannot be changed"),
    ],
    ids=["value", "section", "section removed", "section added", "output"],
)
def test_a_change_of_what_makes_the_run_is_refused_and_names_the_section(
    api: ApiServer, existing: str, change: dict[str, Any], says: str
) -> None:
    message = refusal(api, "PATCH", existing, {"spec": change}, MERGE)
    assert says in message
    assert "create a job with another name" in message


def test_suspension_and_attempts_may_change_at_any_time(api: ApiServer, existing: str) -> None:
    changed = api.request("PATCH", existing, {"spec": {"runPolicy": {"suspend": True, "maxAttempts": 5}}}, MERGE)
    assert changed["spec"]["runPolicy"] == {"suspend": True, "maxAttempts": 5}
    assert api.request("PATCH", existing, {"spec": {"runPolicy": {"suspend": False}}}, MERGE)["metadata"]["generation"] == 3


@pytest.mark.parametrize(
    "change",
    [{"managedBy": "example.com/other"}, {"failureRules": [{"action": "Fail", "exitCodes": [1]}]}],
    ids=["another controller", "a failure rule"],
)
def test_what_a_running_job_cannot_take_over_stays(api: ApiServer, existing: str, change: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        api.request("PATCH", existing, {"spec": {"runPolicy": change}}, MERGE)
    [field] = change
    assert f"runPolicy.{field}: cannot be changed once the job exists" in str(refused.value)


def test_deadlines_may_change_at_any_time(api: ApiServer, existing: str) -> None:
    limits = {"activeDeadlineSeconds": 60, "pendingDeadlineSeconds": 60, "stallTimeoutSeconds": 300, "ttlSecondsAfterFinished": 0}
    changed = api.request("PATCH", existing, {"spec": {"runPolicy": limits}}, MERGE)
    assert limits.items() <= changed["spec"]["runPolicy"].items()
    api.request("PATCH", existing, {"spec": {"runPolicy": dict.fromkeys(limits)}}, MERGE)


@pytest.mark.parametrize("pattern", [r"NCCL error.*\d+", r"^a|b$", r"[^a-z]\.(x|y)*?", "é+", "a$b"])
def test_the_api_server_takes_the_patterns_that_can_be_searched_for(api: ApiServer, pattern: str) -> None:
    Pattern(pattern)
    rules = [{"action": "Fail", "messagePattern": pattern}]
    api.request("POST", f"{JOBS}?dryRun=All", resource("patterned", runPolicy={"failureRules": rules}))


def test_the_charts_copy_is_the_same_definition(api: ApiServer) -> None:
    template_lines_left_out = "\n".join(line for line in crd.chart_text().splitlines() if "{{" not in line)
    from_chart = yaml.safe_load(template_lines_left_out)
    assert json.dumps(from_chart) == json.dumps(crd.definition())
    assert api.get(DEFINITION)["spec"]["versions"][0]["schema"] == crd.definition()["spec"]["versions"][0]["schema"]
