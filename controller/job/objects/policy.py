"""The admission policy by which the API server limits every driver to its own progress ConfigMap.

All drivers in a namespace share an account that may create and patch ConfigMaps. The token of a pod names the pod, and nobody
but the API server can write that name into it. KubeRay names the head pod `RAYJOB-xxxxx-head-xxxxx`, and the progress ConfigMap
is named `RAYJOB-progress-xxxxxxxx`: exactly one RayJob fits a pod's name, because a dash cannot be in any of the other parts. Of
the ConfigMap a driver may change the record and nothing else; it creates it as the controller would, in the name of its own job.
Chart and manifests have the policy (`python -m controller.rights --write`); the controller compares what is installed with it.
Pure. Tests: tests/controller/job/objects/test_policy.py, tests/integration/test_driver_policy.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.job.names import ATTEMPT_LABEL, UID_LABEL
from controller.job.objects.form import SHARED_ACCOUNT
from controller.kinds import JOB_LABEL
from controller.runtime.resources import CONFIG_MAPS, KubeObject, Resource
from finetune.api.record import RECORD_KEY, RECORD_MAX_BYTES
from finetune.api.spec import API_VERSION, KIND

POLICIES = Resource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False)
BINDINGS = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)
POD_NAME = "authentication.kubernetes.io/pod-name"

SPEC: Mapping[str, Any] = {
    "failurePolicy": "Fail",
    "matchConstraints": {
        "resourceRules": [{"apiGroups": [CONFIG_MAPS.group], "apiVersions": ["*"], "operations": ["*"], "resources": [CONFIG_MAPS.plural]}]
    },
    "matchConditions": [
        {"name": "drivers", "expression": f"request.userInfo.username.matches('^system:serviceaccount:[^:]+:{SHARED_ACCOUNT}$')"}
    ],
    "variables": [
        {
            "name": "pod",
            "expression": f"'{POD_NAME}' in request.userInfo.extra ? request.userInfo.extra['{POD_NAME}'][0] : ''",
        },
        {
            "name": "rayJob",
            "expression": "object != null && object.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?-[1-9][0-9]*-progress-[0-9a-f]{8}$')"
            " ? object.metadata.name.substring(0, size(object.metadata.name) - 18) : ''",
        },
    ],
    "validations": [
        {
            "expression": f"request.userInfo.username == 'system:serviceaccount:' + request.namespace + ':{SHARED_ACCOUNT}'",
            "message": "the account of drivers works in its own namespace only",
        },
        {
            "expression": "request.operation in ['CREATE', 'UPDATE']",
            "message": "a driver may create and change its progress ConfigMap, and nothing else",
        },
        {
            # KubeRay cuts a cluster's name to 50 characters, which leaves at least four of the last five.
            "expression": "variables.rayJob != '' && variables.pod.startsWith(variables.rayJob + '-')"
            " && variables.pod.substring(size(variables.rayJob)).matches('^-[a-z0-9]{4,5}-head(-[a-z0-9]{5})?$')",
            "message": "a driver may change the progress ConfigMap of its own attempt only",
        },
        {
            "expression": "object != null && (has(object.data) ? object.data.all(key,"
            f" (key == '{RECORD_KEY}' && size(object.data[key]) <= {RECORD_MAX_BYTES})"
            " || (oldObject != null && has(oldObject.data) && key in oldObject.data && object.data[key] == oldObject.data[key])) : true)"
            " && !has(object.binaryData)"
            " && (oldObject == null ? !has(object.immutable) : has(object.immutable) == has(oldObject.immutable))",
            "message": f"a driver may write {RECORD_KEY} of its progress ConfigMap only, up to {RECORD_MAX_BYTES} bytes",
        },
        {
            "expression": "oldObject == null || "
            + " && ".join(
                f"(has(object.metadata.{name}) ? has(oldObject.metadata.{name}) && object.metadata.{name} == oldObject.metadata.{name}"
                f" : !has(oldObject.metadata.{name}))"
                for name in ("labels", "annotations", "ownerReferences", "finalizers")
            ),
            "message": "a driver may not change the metadata of its progress ConfigMap",
        },
        {
            "expression": "oldObject != null || (object != null && !has(object.metadata.finalizers) && !has(object.metadata.annotations)"
            " && has(object.metadata.labels) && size(object.metadata.labels) == 3"
            f" && ['{JOB_LABEL}', '{UID_LABEL}', '{ATTEMPT_LABEL}'].all(key, key in object.metadata.labels)"
            f" && object.metadata.labels['{JOB_LABEL}'] + '-' + object.metadata.labels['{ATTEMPT_LABEL}'] == variables.rayJob"
            f" && object.metadata.name.endsWith('-progress-' + object.metadata.labels['{UID_LABEL}'].substring(0, 8))"
            " && has(object.metadata.ownerReferences) && size(object.metadata.ownerReferences) == 1"
            " && object.metadata.ownerReferences.all(owner,"
            f" owner.kind == '{KIND}' && owner.apiVersion == '{API_VERSION}' && owner.name == object.metadata.labels['{JOB_LABEL}']"
            f" && owner.uid == object.metadata.labels['{UID_LABEL}'] && (!has(owner.blockOwnerDeletion) || !owner.blockOwnerDeletion)))",
            "message": "a driver creates its progress ConfigMap with the labels and the owner that its configuration gives",
        },
    ],
}


def policy(name: str, labels: Mapping[str, str] | None = None) -> KubeObject:
    """Return the policy under a name."""
    return {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, "metadata": _metadata(name, labels), "spec": SPEC}


def binding(name: str, labels: Mapping[str, str] | None = None) -> KubeObject:
    """Return what puts the policy of the same name into force, everywhere."""
    spec = {"policyName": name, "validationActions": ["Deny"]}
    return {"apiVersion": BINDINGS.api_version, "kind": BINDINGS.kind, "metadata": _metadata(name, labels), "spec": spec}


def in_force(stored_policy: KubeObject, stored_binding: KubeObject) -> bool:
    """Return whether policy and binding limit drivers as ours do: what the server adds are defaults that narrow nothing."""
    wanted, spec = binding(stored_policy["metadata"]["name"])["spec"], stored_binding.get("spec") or {}
    bound = {name: value for name, value in spec.items() if not _empty(value)} == wanted
    return bound and _same(SPEC, stored_policy.get("spec"))


DEFAULTS: Mapping[str, Any] = {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "scope": "*"}


def _same(ours: Any, stored: Any) -> bool:
    if isinstance(ours, Mapping):
        if not isinstance(stored, Mapping):
            return False
        added = {name: value for name, value in stored.items() if name not in ours}
        return all(DEFAULTS.get(name, ...) == value for name, value in added.items()) and all(
            _same(value, stored.get(name)) for name, value in ours.items()
        )
    if isinstance(ours, Sequence) and not isinstance(ours, str):
        lists = isinstance(stored, Sequence) and not isinstance(stored, str) and len(ours) == len(stored)
        return lists and all(_same(one, other) for one, other in zip(ours, stored, strict=True))
    return bool(ours == stored)


def _empty(value: Any) -> bool:
    return value is None or value == {}


def _metadata(name: str, labels: Mapping[str, str] | None) -> dict[str, Any]:
    return {"name": name, **({"labels": dict(labels)} if labels else {})}
