"""What a kubelet would tell the API server of the pods on one node, where there is none: the node, and the pods' states.

What is done to the pods is done by the real scheduler, eviction API, taint manager and garbage collector of pods. Not a test.
"""

from datetime import UTC, datetime
from typing import Any

from tests.cluster.api import MERGE, ApiError, ApiServer
from tests.cluster.fakes import fake_node

STRATEGIC = "application/strategic-merge-patch+json"
TAINT = {"key": "played", "effect": "NoSchedule"}
"""Keeps pods of other tests away, where the scheduler runs."""
GONE, REPLACED = 404, 409
KILLED, TERMINATED = 137, 143


class Kubelet:
    """The kubelet of a node that exists only as an object, for the pods of one namespace."""

    def __init__(self, api: ApiServer, node: str, namespace: str, capacity: dict[str, str] | None = None) -> None:
        self._api, self.node, self._namespace = api, node, namespace
        fake_node(api, node, capacity or {}, labels={"pool": node})
        self._taint(TAINT)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Return the pods that a selector finds, on this node or not yet on any, the oldest first."""
        items = self._api.get(f"/api/v1/namespaces/{self._namespace}/pods?labelSelector={selector}")["items"]
        return sorted(items, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def run(self, pod: dict[str, Any]) -> dict[str, Any]:
        """Take a pod to the node, if the scheduler has not, and say that it runs and is ready."""
        if not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]}, "target": target}
            self._api.request("POST", f"{self._path(pod)}/binding", binding)
        states = self._states(pod, {"running": {"startedAt": _now()}}, ready=True)
        ready = [{"type": kind, "status": "True", "lastTransitionTime": _now()} for kind in ("Ready", "ContainersReady", "Initialized")]
        self._say(pod, phase="Running", podIP="10.0.0.1", podIPs=[{"ip": "10.0.0.1"}], containerStatuses=states, conditions=ready)
        return self._api.get(self._path(pod))

    def end(self, pod: dict[str, Any], exit_code: int, reason: str = "Error") -> None:
        """Say that the pod's container has ended; it does not start again."""
        self._say(pod, phase="Failed" if exit_code else "Succeeded", containerStatuses=self._ended(pod, exit_code, reason))

    def evict(self, pod: dict[str, Any]) -> None:
        """Say that the node has too little memory, and that the pod had to go."""
        why = "The node was low on resource: memory. Container was using more than its request"
        disrupted = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": why,
            "lastTransitionTime": _now(),
        }
        killed = self._ended(pod, KILLED, "Error")
        self._say(pod, phase="Failed", reason="Evicted", message=why, conditions=[disrupted], containerStatuses=killed)

    def take_away(self, pod: dict[str, Any]) -> None:
        """End what is told to stop, which the API server keeps until then."""
        try:
            assert self.is_told_to_stop(pod), "nobody has asked for the end of this pod"
            self._say(pod, phase="Failed", containerStatuses=self._ended(pod, TERMINATED, "Error"))
            self.remove(pod)
        except ApiError as error:
            if error.status not in (GONE, REPLACED):  # whoever deletes a pod that has ended is as fast
                raise

    def remove(self, pod: dict[str, Any]) -> None:
        """Tell the API server that nothing of the pod is left on the node."""
        own = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._api.request("DELETE", self._path(pod), own)

    def is_gone(self, pod: dict[str, Any]) -> bool:
        return all(each["metadata"]["uid"] != pod["metadata"]["uid"] for each in self.pods(""))

    def is_told_to_stop(self, pod: dict[str, Any]) -> bool:
        return bool(self._api.get(self._path(pod))["metadata"].get("deletionTimestamp"))

    def only_here(self) -> dict[str, Any]:
        """Return the part of a job's resources that has it run on this node, which others keep away from."""
        return {"nodeSelector": {"pool": self.node}, "tolerations": [{"key": TAINT["key"], "operator": "Exists"}]}

    def taint(self) -> None:
        """Play an administrator who clears the node."""
        self._taint(TAINT, {"key": "maintenance", "effect": "NoExecute"})

    def preempt(self, cpu: str) -> None:
        """Create a pod that is more important than all others and fits on this node only."""
        name = f"important-{self.node}"
        kind = {"metadata": {"name": name}, "value": 1000, "preemptionPolicy": "PreemptLowerPriority"}
        self._api.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", kind)
        container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu}}}
        spec = {"containers": [container], "priorityClassName": name, **self.only_here()}
        self._api.request("POST", f"/api/v1/namespaces/{self._namespace}/pods", {"metadata": {"name": name}, "spec": spec})

    def _taint(self, *taints: dict[str, str]) -> None:
        self._api.request("PATCH", f"/api/v1/nodes/{self.node}", {"spec": {"taints": list(taints)}}, MERGE)

    def _path(self, pod: dict[str, Any]) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}"

    def _ended(self, pod: dict[str, Any], exit_code: int, reason: str) -> list[dict[str, Any]]:
        ended = {"exitCode": exit_code, "reason": reason, "startedAt": _now(), "finishedAt": _now()}
        return self._states(pod, {"terminated": ended}, ready=False)

    def _states(self, pod: dict[str, Any], state: dict[str, Any], *, ready: bool) -> list[dict[str, Any]]:
        fixed = {"ready": ready, "restartCount": 0, "imageID": "sha256:0"}
        return [{"name": each["name"], "image": each["image"], "state": state, **fixed} for each in pod["spec"]["containers"]]

    def _say(self, pod: dict[str, Any], **status: Any) -> None:
        self._api.request("PATCH", f"{self._path(pod)}/status", {"status": status}, STRATEGIC)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
