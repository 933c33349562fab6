"""An attempt on the real control plane with the real KubeRay, whose pods run: kubelet, driver and Ray are played. Not a test."""

from typing import Any

from controller.job.names import progress_name
from tests.builders import resource
from tests.cluster.api import MERGE
from tests.cluster.controlplane import ControlPlane
from tests.controller.job.builders import checkpoint, record_text
from tests.integration.kubelet import Kubelet
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, RAY_JOBS, ROWS, create, wait

OF_FIRST = "finetune.dev/attempt=1,ray.io/is-ray-node=yes"
LOST_WORKER = {"result": "Failed", "reason": "TrainingError", "message": "ActorDiedError: rank 0 is gone"}
"""All that a driver knows of a worker that is gone."""


class Attempt:
    """The first attempt of the job `bot`, which trains: both its pods run, and the driver has reported a checkpoint."""

    def __init__(self, plane: ControlPlane, namespace: str, kubelet: Kubelet, **sections: Any) -> None:
        self.plane, self.namespace, self.kubelet = plane, namespace, kubelet
        create(plane, namespace, CLAIMS, CLAIM)
        create(plane, namespace, CONFIG_MAPS, ROWS)
        create(plane, namespace, JOBS, resource("bot", resources=kubelet.only_here(), **sections))
        wait(lambda: len(kubelet.pods("ray.io/is-ray-node=yes")) == 2, "two pods")
        self.head, self.worker = [self.runs(role) for role in ("head", "worker")]
        wait(lambda: self.ray_job()["status"].get("jobDeploymentStatus") == "Running", "KubeRay has submitted the Ray job")
        self.play(jobStatus="RUNNING")
        self.report(checkpoints=[checkpoint(20)])
        wait(lambda: self.attempts()[0].get("lastStep") == 20, "the report was taken over")

    def runs(self, role: str) -> dict[str, Any]:
        [pod] = self.kubelet.pods(f"finetune.dev/role={role}")
        return self.kubelet.run(pod)

    def ray_job(self, number: int = 1) -> dict[str, Any]:
        return self.plane.api.get(f"{RAY_JOBS.format(self.namespace)}/bot-{number}")

    def has_ray_job(self, number: int) -> bool:
        return self.plane.api.exists(f"{RAY_JOBS.format(self.namespace)}/bot-{number}")

    def status(self) -> dict[str, Any]:
        return self.plane.api.get(f"{JOBS.format(self.namespace)}/bot").get("status") or {}

    def attempts(self) -> list[dict[str, Any]]:
        return list(self.status().get("attempts") or [{}])

    def play(self, **status: str) -> None:
        """Play what KubeRay learns from Ray, for there is none."""
        self.plane.api.request("PATCH", f"{RAY_JOBS.format(self.namespace)}/bot-1/status", {"status": status}, MERGE)

    def report(self, **fields: Any) -> None:
        """Play the driver."""
        ray_job = self.ray_job()
        name = progress_name("bot", ray_job["metadata"]["ownerReferences"][0]["uid"], 1)
        text = record_text(cluster=ray_job["status"]["rayClusterName"], **fields)
        path, data = CONFIG_MAPS.format(self.namespace), {"record.json": text}
        if self.plane.api.exists(f"{path}/{name}"):
            self.plane.api.request("PATCH", f"{path}/{name}", {"data": data}, MERGE)
            return
        owners = [{**ray_job["metadata"]["ownerReferences"][0], "blockOwnerDeletion": False}]
        metadata = {"name": name, "labels": ray_job["metadata"]["labels"], "ownerReferences": owners}
        self.plane.api.request("POST", path, {"metadata": metadata, "data": data})

    def driver_fails(self) -> dict[str, Any]:
        """Play a driver that has lost a worker, and what KubeRay makes of its end; return the attempt."""
        self.report(sequence=9, outcome=LOST_WORKER, checkpoints=[checkpoint(20)])
        words = "Job entrypoint command failed with exit code 1, last available logs: ActorDiedError"
        self.play(jobStatus="FAILED", jobDeploymentStatus="Failed", reason="AppFailed", message=words)
        return self.ends()

    def submitter_fails(self) -> bool:
        """Play submitters that find no head; return whether KubeRay has seen enough of them."""
        for pod in self.kubelet.pods("job-name=bot-1"):
            if pod["status"]["phase"] != "Failed":
                self.kubelet.end(self.kubelet.run(pod), 1)
        return bool(self.ray_job()["status"]["jobDeploymentStatus"] == "Failed")

    def ends(self) -> dict[str, Any]:
        wait(lambda: "outcome" in self.attempts()[0], "the attempt has ended")
        return self.attempts()[0]

    def clear(self) -> None:
        """Delete the cluster, as KubeRay does with a RayJob that it ended itself, and let the kubelet end what has to stop."""
        cluster = self.ray_job()["status"]["rayClusterName"]
        path = f"/apis/ray.io/v1/namespaces/{self.namespace}/rayclusters/{cluster}"
        if self.plane.api.exists(path):
            self.plane.api.request("DELETE", path)
        self.kubelet_follows(OF_FIRST)

    def kubelet_follows(self, selector: str) -> None:
        def none_left() -> bool:
            for pod in self.kubelet.pods(selector):
                if pod["metadata"].get("deletionTimestamp"):
                    self.kubelet.take_away(pod)
            return not self.kubelet.pods(selector)

        wait(none_left, "no pod of the attempt is left")
