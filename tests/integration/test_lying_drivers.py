"""A driver that lies in its progress object changes its own progress, or nothing: with its own token, on the real API server."""

import json
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.job.objects.form import CONFIG_ANNOTATION
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.errors import Invalid
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
from finetune.api.folding import WRITE_INTERVAL
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.controller.job.builders import record_text
from tests.integration.jobs import Operator
from tests.integration.test_driver_policy import Heads, config_map, heads, operator, pods_of, told
from tests.integration.test_job_lifecycle import progress_of, started

__all__ = ["heads", "operator"]

pytestmark = [pytest.mark.integration, pytest.mark.fault]

OBEYED = re.compile(r"[\x7f-\x9f\u202e]|\\[rbfu]")
"""Signs that a terminal obeys, in JSON."""
OWN_PROGRESS = {"progress", "metrics", "checkpoints", "summary", "warnings", "model", "output", "continuedFrom", "reportCursor"}
"""Members of a job's status that repeat what its driver says."""
OF_ATTEMPTS = {"lastStep", "resumedFromStep"}
KINDS = (RAY_JOBS, PODS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)
SUCCESS = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 1.01"}
DONE = {"step": 80, "totalSteps": 80, "epoch": 1.0, "tokensSeen": 99}
CHECKPOINT = {"step": 20, "sizeBytes": 1, "createdTime": "2026-03-01T12:00:00Z", "attempt": 1, "verified": True}
MODEL = {"name": "../../x", "source": "job", "precision": "x", "digest": "sha256:0"}


def lies(cluster: str, theirs: str) -> dict[str, str]:
    """Return records that no driver writes, by what is wrong with them. `theirs` is the Ray cluster of the other job."""
    numbers = iter(range(10, 1000))

    def says(**fields: Any) -> str:
        return json.dumps(json.loads(record_text()) | {"cluster": cluster, "sequence": next(numbers)} | fields)

    return {
        "a later attempt": says(attempt=2, outcome=SUCCESS),
        "a number that no attempt has": says(attempt=2**53, outcome=SUCCESS),
        "the cluster of another job": says(cluster=theirs, outcome=SUCCESS),
        "an older record": says(sequence=1, outcome=SUCCESS),
        "a sequence beyond all": says(sequence=2**70),
        "nothing": "",
        "null": "null",
        "no object": "[1, 2]",
        "no JSON": "\u0000\ufffe{{",
        "deeper than any reader": "[" * 30_000,
        "numbers that are none": says().replace('"tokensSeen": 4096', '"tokensSeen": NaN'),
        "a number of many digits": says().replace('"tokensSeen": 4096', f'"tokensSeen": {"9" * 5000}'),
        "wrong types": says(progress=[1], metrics="good", checkpoints={"step": 1}, warnings=7),
        "a step of text": says(progress={**DONE, "step": "<b>80</b>"}),
        "members of a job": says(spec={"runPolicy": {"maxAttempts": 99}}, status={"phase": "Succeeded"}, namespace="kube-system"),
        "conditions": says(conditions=[{"type": "Succeeded", "status": "True"}]),
        "a metric that nobody knows": says(metrics={"final": {"; rm -rf /": 1.0}}),
        "more checkpoints than may be": says(checkpoints=[{**CHECKPOINT, "step": step, "uri": "x"} for step in range(65)]),
        "somebody else's files": says(
            checkpoints=[{**CHECKPOINT, "uri": "pvc://theirs/../../etc"}],
            output={"uri": "pvc://theirs/x", "reportUri": "file:///etc/passwd"},
        ),
        "somebody else's model": says(model={**MODEL, "fineTuneJob": {"name": "other", "uid": "0" * 8, "digest": "sha256:0"}}),
        "signs that a terminal obeys": says(
            warnings=["all is well\rno\b\fDEL"],
            checkpoints=[{**CHECKPOINT, "uri": "pvc://x\rDEL"}],
            model={**MODEL, "name": "m\rx"},
            output={"uri": "pvc://x\b"},
        ).replace("DEL", "\x7f"),
        "a script": says(warnings=["<script>alert(1)</script>", "$(reboot) `id` {{ .Values }}", "\x1b[2J\x1b]0;x\x07\u202e"]),
        "success, while it runs": says(outcome=SUCCESS, stage="Finished", progress=DONE, metrics={"final": {"perplexity": 1.01}}),
    }


def without_progress(status: dict[str, Any]) -> dict[str, Any]:
    """Return what of a status a driver must not change; what is said of its checkpoints is a condition of its own."""
    kept = {name: value for name, value in status.items() if name not in OWN_PROGRESS}
    kept["attempts"] = [{name: value for name, value in each.items() if name not in OF_ATTEMPTS} for each in kept["attempts"]]
    kept["conditions"] = [each for each in kept["conditions"] if each["type"] != "CheckpointAvailable"]
    return kept


async def everything_else(operator: Operator) -> dict[str, Any]:
    """Return all that there is but for what the driver of `bot` may say of itself."""
    jobs = {job: await operator.job(job) for job in ("bot", "other")}
    found: dict[str, Any] = {name: [job["spec"], job["metadata"].get("labels", {})] for name, job in jobs.items()}
    found["statuses"] = [without_progress(jobs["bot"]["status"]), jobs["other"]["status"]]
    for kind in KINDS:
        items = (await operator.client.list_all(kind, operator.namespace)).items
        found[str(kind)] = sorted((item["metadata"]["name"], item["metadata"]["uid"]) for item in items)
    return found


@pytest.fixture
async def liar(operator: Operator, heads: Heads) -> tuple[Client, dict[str, Any], dict[str, Any]]:
    """The head of `bot`, that has reported once, with its RayJob, and the RayJob of the job `other` beside it."""
    for job in ("bot", "other"):
        await operator.create(resource(job))
    mine, theirs = [await started(operator, job) for job in ("bot", "other")]
    [pod] = await pods_of(operator, "bot", "head")
    head = await heads.of(operator.namespace, pod)
    first = record_text(cluster=mine["status"]["rayClusterName"])
    await head.create(CONFIG_MAPS, config_map(told(pod), data={"record.json": first}))
    for _ in range(2):
        await operator.pass_once()
    return head, mine, theirs


async def test_a_driver_that_lies_changes_nothing_but_its_own_progress(
    operator: Operator, liar: tuple[Client, dict[str, Any], dict[str, Any]]
) -> None:
    head, mine, theirs = liar
    before = await everything_else(operator)
    assert (await operator.status("bot"))["progress"]["step"] == 20
    for what, text in lies(mine["status"]["rayClusterName"], theirs["status"]["rayClusterName"]).items():
        operator.ahead += WRITE_INTERVAL
        await head.patch(CONFIG_MAPS, progress_of(mine), operator.namespace, {"data": {"record.json": text}})
        await operator.pass_once()
        assert await everything_else(operator) == before, what
        job = json.dumps(await operator.job("bot"), ensure_ascii=False)
        assert len(job) < 2**17, what
        assert not OBEYED.search(job), what
    status = await operator.status("bot")
    assert status["warnings"] == ["<script>alert(1)</script>", "$(reboot) `id` {{ .Values }}", " [2J ]0;x  "]
    with pytest.raises(Invalid, match="up to 65536 bytes"):
        await head.patch(CONFIG_MAPS, progress_of(mine), operator.namespace, {"data": {"record.json": "x" * 1_000_000}})


async def test_a_success_that_is_forged_does_not_outlive_the_failure_of_the_run_and_the_next_attempt_is_told_nothing_of_it(
    operator: Operator, liar: tuple[Client, dict[str, Any], dict[str, Any]]
) -> None:
    head, mine, _ = liar
    forged = lies(mine["status"]["rayClusterName"], "")
    told_before = await config_of(operator, "bot")
    for what in ("somebody else's files", "somebody else's model", "success, while it runs"):
        await head.patch(CONFIG_MAPS, progress_of(mine), operator.namespace, {"data": {"record.json": forged[what]}})
        operator.ahead += WRITE_INTERVAL
        await operator.pass_once()
    await operator.end_ray_job("bot-1", jobStatus="FAILED", jobDeploymentStatus="Failed", reason="AppFailed", message="exit code 1")
    await operator.run_until(lambda: operator.has_condition("bot", "Running", "False", "Retrying"), "seen to fail")
    assert not await operator.has_condition("bot", "Succeeded", "True")
    assert (await operator.status("bot"))["attempts"][0]["outcome"] == "Failed"
    await operator.client.delete(RAY_JOBS, "bot-1", operator.namespace)
    operator.ahead += timedelta(hours=1)  # later than any pause between attempts
    await started(operator, attempt=2)
    told_after = await config_of(operator, "bot")
    for config in (told_before, told_after):
        config["job"].pop("attempt")
        config.pop("progress")
    assert told_after == told_before
    assert await operator.names(RAY_JOBS) == ["bot-2", "other-1"]


async def config_of(operator: Operator, job: str) -> dict[str, Any]:
    """Return what the newest head of a job is told."""
    pods = sorted(await pods_of(operator, job, "head"), key=lambda pod: pod["metadata"]["creationTimestamp"])
    return dict(json.loads(pods[-1]["metadata"]["annotations"][CONFIG_ANNOTATION]))


ELSEWHERE = ("other/x", "../x", "other:x", "other.x/../y", "/x", "x y", "")
FIELDS = {
    "output claim": {"output__persistentVolumeClaim__claimName": None},
    "model's claim": {"model": {"persistentVolumeClaim": {"claimName": None}}},
    "model of a job": {"model": {"fineTuneJob": {"name": None}}},
    "token's Secret": {"model": {"name": "org/model", "tokenSecret": {"name": None, "key": "token"}}},
    "rows in a ConfigMap": {"data": {"train": [{"configMap": {"name": None, "key": "train.jsonl"}}]}},
    "rows on a claim": {"data": {"train": [{"persistentVolumeClaim": {"claimName": None, "path": "x.jsonl"}}]}},
    "job to go on from": {"continueFrom": {"fineTuneJob": None}},
    "priority": {"resources": {"priorityClassName": None}},
}


def named(value: Any, name: str) -> Any:
    """Return `value` with the name in place of None."""
    if isinstance(value, dict):
        return {key: named(each, name) for key, each in value.items()}
    return [named(each, name) for each in value] if isinstance(value, list) else name if value is None else value


async def test_no_name_in_a_job_leads_out_of_its_namespace(control_plane: ControlPlane, account: Path) -> None:
    async with await Operator.connect(control_plane.kubeconfig, account, f"names-{uuid.uuid4().hex[:8]}") as operator:
        taken = []
        for number, field in enumerate(FIELDS):
            await operator.create(resource(f"good-{number}", **named(FIELDS[field], "x")))
            for name in ELSEWHERE:
                try:
                    await operator.create(resource("bad", **named(FIELDS[field], name)))
                except Invalid:
                    continue
                taken.append((field, name))
        assert taken == []
        assert len(await operator.names(FINE_TUNE_JOBS, None)) == len(FIELDS)
