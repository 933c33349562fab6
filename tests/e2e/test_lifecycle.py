"""Bad input ends at once with words that help; the operator can be removed and installed again under its jobs."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import helm
from tests.cluster.node import NodeCluster
from tests.e2e.conftest import SAMPLE
from tests.e2e.kubectl import Kubectl, condition, wait_until
from tests.e2e.runs import save_job


def job_with_rows(name: str, rows: str, change: Callable[[dict[str, Any]], None] | None = None) -> str:
    """Return a small job, its data and its claim; `rows` is the content of train.jsonl."""
    documents = list(yaml.safe_load_all(SAMPLE.read_text()))
    job = next(document for document in documents if document["kind"] == "FineTuneJob")
    job["metadata"]["name"] = name
    job["spec"]["data"] = {"train": [{"configMap": {"name": name, "key": "train.jsonl"}}]}
    job["spec"]["distributed"] = {"workers": 1}
    job["spec"]["evaluation"] = {"metrics": ["perplexity"]}
    del job["spec"]["regularization"]["earlyStopping"]  # there are no validation rows to evaluate
    if change is not None:
        change(job)
    data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"train.jsonl": rows}}
    claim = next(document for document in documents if document["kind"] == "PersistentVolumeClaim")
    return yaml.safe_dump_all([data, claim, job], sort_keys=False)


def without_weights(job: dict[str, Any]) -> None:
    job["spec"]["model"] = {"persistentVolumeClaim": {"claimName": "quickstart-models", "path": "nothing-here"}}


def ray_job_start(kubectl: Kubectl, name: str) -> str:
    """Return when Ray took the job, as KubeRay read it from Ray's dashboard; empty until then."""
    return kubectl.get("rayjob", name).get("status", {}).get("rayJobInfo", {}).get("startTime", "")


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


FAILED_WITHIN_SECONDS = 30.0
GOOD_ROW = '{"prompt": "Hello?", "completion": "Hello."}\n'


@pytest.mark.parametrize(
    ("name", "rows", "change", "words"),
    [
        pytest.param("broken-line", GOOD_ROW + '{"prompt": \n', None, ["data.train[0]", "line 2"], id="a broken line"),
        pytest.param("missing-column", '{"asked": "a", "completion": "b"}\n', None, ["data.train[0]", "prompt"], id="a missing column"),
        pytest.param("empty-set", "", None, ["data.train[0]", "train.jsonl"], id="an empty set"),
        pytest.param("no-weights", GOOD_ROW, without_weights, ["model.persistentVolumeClaim"], id="a model without weights"),
    ],
)
def test_bad_input_fails_the_job_without_retries_soon_after_the_driver_starts(
    installed: NodeCluster,
    artifacts: Path,
    name: str,
    rows: str,
    change: Callable[[dict[str, Any]], None] | None,
    words: list[str],
) -> None:
    kubectl = Kubectl(installed.kubeconfig, name)
    kubectl.run("create", "namespace", name)
    kubectl.run("apply", "--filename", "-", stdin=job_with_rows(name, rows, change))

    def failed() -> dict[str, Any]:
        found = condition(kubectl.status(name), "Failed")
        return found if found.get("status") == "True" else {}

    found = wait_until(f"{name} did not fail", failed, 240.0)
    save_job(kubectl, name, artifacts)
    for word in words:
        assert word in found["message"]
    # The job may fail before KubeRay has looked at it again.
    started = wait_until("KubeRay does not tell when the Ray job started", lambda: ray_job_start(kubectl, f"{name}-1"), 30.0)
    assert (time_of(found["lastTransitionTime"]) - time_of(started)).total_seconds() < FAILED_WITHIN_SECONDS
    assert len(kubectl.status(name)["attempts"]) == 1
    kubectl.run("delete", "finetunejob", name)


def test_jobs_outlive_the_operator_and_are_picked_up_again(
    installed: NodeCluster, namespace: Callable[[str], Kubectl], artifacts: Path
) -> None:
    kubectl = namespace("reinstall")

    def suspended(job: dict[str, Any]) -> None:
        job["spec"]["runPolicy"] = {"suspend": True}

    kubectl.run("apply", "--filename", "-", stdin=job_with_rows("kept", GOOD_ROW * 2, suspended))
    wait_until("the job was not seen", lambda: condition(kubectl.status("kept"), "Suspended").get("status") == "True", 60.0)
    helm.uninstall(installed.kubeconfig)
    assert kubectl.names("finetunejobs") == ["kept"]
    assert kubectl.run("get", "crd", "finetunejobs.finetune.dev")
    kubectl.run("patch", "finetunejob", "kept", "--type=merge", "--patch", '{"spec": {"runPolicy": {"suspend": false}}}')
    helm.install(installed.kubeconfig)
    assert "Succeeded" in helm.test(installed.kubeconfig)

    def started() -> list[dict[str, Any]]:
        """Return the attempts once the first has a start time: it is written a pass after the attempt."""
        attempts = kubectl.status("kept").get("attempts", [])
        return attempts if attempts and attempts[0].get("startTime") else []

    attempts = wait_until("the job was not picked up again", started, 60.0)
    assert attempts[0]["number"] == 1
    assert time_of(attempts[0]["startTime"])
    save_job(kubectl, "kept", artifacts)
    kubectl.run("delete", "finetunejob", "kept")
    wait_until("pods are left", lambda: not kubectl.names("pods"), 120.0)
