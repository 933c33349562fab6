"""The controller with a Role in each of its namespaces, as a process of its own on the real API server."""

import uuid
from pathlib import Path

import pytest

from finetune.api import crd
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, DEFINITION, JOBS, ROWS, Process, create, reason_of, wait
from tests.integration.releases import create_namespace, installed

pytestmark = pytest.mark.integration


def test_jobs_run_where_the_controller_has_a_role_and_nowhere_else(control_plane: ControlPlane, tmp_path: Path) -> None:
    plane = control_plane
    plane.api.apply(DEFINITION, crd.manifest_text().encode())
    plane.api.wait_for(DEFINITION, "Established")
    first, second, others, without_role = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("first", "second", "others", "roleless"))
    for namespace in (first, second, others, without_role):
        create_namespace(plane, namespace)
        create(plane, namespace, CONFIG_MAPS, ROWS)
        create(plane, namespace, CLAIMS, CLAIM)
        create(plane, namespace, JOBS, resource("bot"))
    with installed(plane, "some", f"watchNamespaces={{{first},{second}}}") as release:
        settings = {
            "FINETUNE_NAMESPACES": f"{first},{second},{without_role}",
            "FINETUNE_LEASE_NAMESPACE": release.namespace,
            "FINETUNE_LEASE_NAME": release.name,
            "FINETUNE_DRIVER_POLICY": release.name,
        }
        controller = Process(release.kubeconfig, tmp_path, "some", **settings)
        try:
            wait(controller.ready, "ready")
            for namespace in (first, second):
                path = f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs/bot-1"
                wait(lambda path=path: plane.api.exists(path), f"a RayJob in {namespace}")
                head = plane.api.get(path)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
                assert head["serviceAccountName"] == "finetune-trainer", "the policy about heads could not be read"
            for namespace in (others, without_role):
                assert reason_of(plane, namespace, "bot", "Accepted") is None
            refused = {record["error"].split(" in the namespace ")[-1] for record in controller.records() if "forbidden" in str(record)}
            assert refused
            assert all(without_role in words for words in refused)
        finally:
            controller.end()
