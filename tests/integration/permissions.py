"""The table of docs/permissions.md as calls over HTTP, and what the API server answers to each account.

A call that changes something is a dry run: the server authenticates, authorizes and admits it, and stores nothing.
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from controller.job.names import UID_LABEL
from controller.kinds import JOB_LABEL
from finetune.api.spec import API_VERSION, KIND
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.repository import REPOSITORY

TABLE = REPOSITORY / "docs" / "permissions.md"
RBAC = "rbac.authorization.k8s.io"
GROUPS = {
    "finetunejobs": "finetune.dev/v1alpha1",
    "rayjobs": "ray.io/v1",
    "rayclusters": "ray.io/v1",
    "workloads": "kueue.x-k8s.io/v1beta2",
    "events": "events.k8s.io/v1",
    "deployments": "apps/v1",
    "jobs": "batch/v1",
    "leases": "coordination.k8s.io/v1",
    "resourceclaimtemplates": "resource.k8s.io/v1",
    "customresourcedefinitions": "apiextensions.k8s.io/v1",
    **dict.fromkeys(("validatingadmissionpolicies", "validatingadmissionpolicybindings"), "admissionregistration.k8s.io/v1"),
    **dict.fromkeys(("roles", "rolebindings", "clusterroles", "clusterrolebindings"), f"{RBAC}/v1"),
}
"""Of kinds outside the core group."""
WITHOUT_DRY_RUN = ("exec", "attach", "token", "log")
ROLES = {
    "to-patch-a-configmap": {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get", "patch"]},
    "to-read-secrets": {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
    "to-create-pods": {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]},
    "to-do-anything": {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
}
BOUND = {
    "of-the-role-of-own": ("Role", "own-1"),
    "of-admin": ("ClusterRole", "admin"),
    "of-cluster-admin": ("ClusterRole", "cluster-admin"),
}
OF_BOT = "-of-bot"
CONTAINER = {"name": "x", "image": "x"}
SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass(frozen=True)
class Call:
    """A line of the table: a call, and by account whether it has to succeed."""

    verb: str
    plural: str
    subresource: str
    name: str
    namespace: str
    expected: Mapping[str, bool]

    def __str__(self) -> str:
        kind = f"{self.plural}/{self.subresource}" if self.subresource else self.plural
        return " ".join(part for part in (self.verb, kind, self.name, self.namespace) if part)


def calls() -> Iterator[Call]:
    """Return the lines of the table in docs/permissions.md."""
    accounts: list[str] = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| verb "):
            accounts = cells[3:]
        elif line.startswith("| "):
            verb, what, namespace, *answers = cells
            kind, _, name = what.partition(" ")
            plural, _, subresource = kind.partition("/")
            assert len(answers) == len(accounts), line
            assert {*answers} <= {"yes", ""}, line
            yield Call(
                verb, plural, subresource, name, namespace, {who: word == "yes" for who, word in zip(accounts, answers, strict=True)}
            )


class Account:
    """Somebody with a token, over one connection. `names` are real names by those in the table, some with their namespace."""

    def __init__(self, plane: ControlPlane, token: str, names: Mapping[str, str]) -> None:
        self._plane, self._token, self._names = plane, token, names
        address = urlsplit(plane.url)
        context = ssl.create_default_context(cafile=str(plane.authority))
        self._connection = HTTPSConnection(address.hostname or "", address.port, context=context, timeout=20)

    def close(self) -> None:
        self._connection.close()

    def allowed(self, call: Call) -> bool:
        """Make a call; return whether it succeeded, or was forbidden. Any other answer is an error."""
        method, path, body, headers = self._request(call)
        status, answer = self._send(method, path, body, headers)
        if status == 403 or (status == 422 and "ValidatingAdmissionPolicy" in answer):
            return False
        # Without a node, nobody answers in the pod; the right to ask was looked at before.
        if status == 400 and call.subresource in ("exec", "attach", "log") and "does not have a host assigned" in answer:
            return True
        # Kueue is not installed; the right to ask was looked at before.
        if status == 404 and call.plural == "workloads" and "page not found" in answer:
            return True
        assert 200 <= status < 300, f"{call}: {status} {answer}"
        return True

    def _request(self, call: Call) -> tuple[str, str, Any, dict[str, str]]:
        name, namespace = self._real(f"{call.namespace}/{call.name}", call.name), self._real(call.namespace)
        if call.verb == "impersonate":
            user = f"system:serviceaccount:{namespace}:{name}" if call.plural == "serviceaccounts" else name
            who = {"Impersonate-User": "somebody", "Impersonate-Group": name} if call.plural == "groups" else {"Impersonate-User": user}
            return "POST", SELF, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}, who
        group = GROUPS.get(call.plural, "v1")
        path = f"/api/{group}" if group == "v1" else f"/apis/{group}"
        path += f"/namespaces/{namespace}" if namespace not in ("", "*") else ""
        path += f"/{call.plural}"
        if call.verb == "list":
            return "GET", path, None, {}
        if call.verb == "watch":
            return "GET", f"{path}?watch=true&timeoutSeconds=1", None, {}
        made = call.verb == "create" and not call.subresource
        path += "" if made or not name else f"/{quote(name)}"
        path += f"/{call.subresource}" if call.subresource else ""
        if call.subresource in ("exec", "attach"):
            return "POST", f"{path}?command=id&container=ray-head&stdout=true", None, {}
        if call.verb == "get":
            return "GET", path, None, {}
        path += "" if call.subresource in WITHOUT_DRY_RUN else "?dryRun=All"
        if call.verb == "delete":
            return "DELETE", path, None, {}
        if call.verb == "patch":
            return "PATCH", path, patch(call), {"Content-Type": "application/merge-patch+json"}
        kinds = {"apiVersion": group, "kind": KINDS[call.plural], "metadata": {"name": name, "namespace": namespace or None}}
        if call.verb == "update":
            return "PUT", path, {**kinds, "metadata": {**kinds["metadata"], "resourceVersion": self._version(path)}}, {}
        if call.subresource == "token":
            return "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}, {}
        if call.subresource == "eviction":
            return "POST", path, {**kinds, "apiVersion": "policy/v1", "kind": "Eviction"}, {}
        return "POST", path, {**kinds, **content(call, name, namespace)}, {}

    def _real(self, *names: str) -> str:
        return next((self._names[name] for name in names if name in self._names), names[-1])

    def _version(self, path: str) -> str:
        return str(self._plane.api.get(path.partition("?")[0])["metadata"]["resourceVersion"])

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, str]:
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", "Accept": "application/json", **headers}
        self._connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = self._connection.getresponse()
        if answer.status == 200 and "watch=true" in path:
            self._connection.close()  # its end would take a second
            return answer.status, ""
        return answer.status, answer.read().decode(errors="replace")


KINDS = {
    "configmaps": "ConfigMap",
    "deployments": "Deployment",
    "events": "Event",
    "finetunejobs": "FineTuneJob",
    "jobs": "Job",
    "leases": "Lease",
    "namespaces": "Namespace",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "pods": "Pod",
    "rayjobs": "RayJob",
    "resourcequotas": "ResourceQuota",
    "rolebindings": "RoleBinding",
    "roles": "Role",
    "clusterroles": "ClusterRole",
    "clusterrolebindings": "ClusterRoleBinding",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
}
"""Of what is created."""


def patch(call: Call) -> dict[str, Any]:
    """Return a change that the account could want."""
    changes: dict[str, dict[str, Any]] = {
        "finetunejobs": {"spec": {"runPolicy": {"suspend": True}}},
        "finetunejobs/status": {"status": {"phase": "Succeeded"}},
        "roles": {"rules": [ROLES["to-read-secrets"]]},
        "rolebindings": {"subjects": [{"kind": "User", "name": "somebody", "apiGroup": RBAC}]},
        "configmaps": {"data": {"record.json": "{}"}},
    }
    kind = f"{call.plural}/{call.subresource}" if call.subresource else call.plural
    if call.name == "annotations-of-bot":
        return {"metadata": {"annotations": {"touched": "yes"}}}
    return changes.get(kind, {"metadata": {"labels": {"touched": "yes"}}})


def content(call: Call, name: str, namespace: str) -> dict[str, Any]:
    """Return what an object that is created has beside its kind and name; of one that is of the job `bot`, what says so."""
    if call.name.endswith(OF_BOT) and call.plural in ("configmaps", "serviceaccounts", "roles", "rolebindings"):
        uid = "00000000-0000-0000-0000-000000000000"
        owner = {"apiVersion": API_VERSION, "kind": KIND, "name": "bot", "uid": uid}
        metadata = {"name": name, "namespace": namespace, "labels": {JOB_LABEL: "bot", UID_LABEL: uid}, "ownerReferences": [owner]}
        return {**content(replace(call, name=call.name.removesuffix(OF_BOT)), name, namespace), "metadata": metadata}
    template = {"template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}
    if call.plural in ("roles", "clusterroles"):
        return {"rules": [ROLES[call.name]]}
    if call.plural in ("rolebindings", "clusterrolebindings"):
        kind, role = BOUND[call.name]
        subject = {"kind": "ServiceAccount", "name": "own-1", "namespace": namespace or "default"}
        return {"roleRef": {"apiGroup": RBAC, "kind": kind, "name": role}, "subjects": [subject]}
    if call.plural == "deployments":
        template["template"]["spec"].pop("restartPolicy")
        return {"spec": {"selector": {"matchLabels": {"app": "x"}}, **template}}
    event = {"eventTime": "2026-03-01T12:00:00.000000Z", "action": "x", "reason": "X", "type": "Normal", "note": "x"}
    reporter = {"reportingController": "x", "reportingInstance": "x", "regarding": {"kind": "Pod", "name": "x", "namespace": namespace}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    head = {"rayStartParams": {}, "template": {"spec": {"containers": [CONTAINER]}}}
    return {
        "finetunejobs": {"spec": resource()["spec"]},
        "rayjobs": {"spec": {"entrypoint": "true", "rayClusterSpec": {"headGroupSpec": head}}},
        "events": {**event, **reporter},
        "jobs": {"spec": template},
        "persistentvolumeclaims": {"spec": claim},
        "pods": {"spec": {"containers": [CONTAINER]}},
        "resourcequotas": {"spec": {"hard": {"pods": "1"}}},
    }.get(call.plural, {})
