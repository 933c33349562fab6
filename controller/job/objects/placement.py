"""Which of an attempt's pods must share a node: a volume that only one node can mount keeps head and workers together.

Pure. Test: tests/controller/job/objects/test_placement.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.job import names
from controller.job.earlier import recorded
from controller.job.facts import Job
from controller.runtime.resources import KubeObject
from finetune.api.resolve import references

HOSTNAME = "kubernetes.io/hostname"

AccessModes = Mapping[str, Sequence[str]]
"""Access modes of the claims in use, by name."""


def claims(job: Job) -> list[tuple[str, bool]]:
    """Return the claims in use by name, and whether the trainer only reads them."""
    spec = job.valid_spec
    output = spec.output.persistent_volume_claim.claim_name
    read = {reference.claim.claim_name for reference in references(spec) if reference.claim is not None}
    read |= {earlier.output.claim_name for earlier in recorded(job)}
    return sorted({(name, name != output) for name in {output, *read}})


def access_modes(claim: KubeObject) -> list[str]:
    """Return the access modes of a claim: those of its volume once it is bound, which may be more than it requests."""
    status, spec = claim.get("status") or {}, claim.get("spec") or {}
    return list(status.get("accessModes") or spec.get("accessModes") or [])


def needs_one_node(job: Job, modes: AccessModes) -> bool:
    """Return whether a claim in use cannot be mounted on several nodes at once."""
    return any(
        "ReadWriteMany" not in modes.get(name, ()) and not (read_only and "ReadOnlyMany" in modes.get(name, ()))
        for name, read_only in claims(job)
    )


def head_affinity(job: Job, attempt: int) -> dict[str, Any]:
    """Return the affinity that puts the head on the workers' node: they need a node with GPUs and memory, and it follows."""
    return _beside(job, attempt, names.ROLE_WORKER)


def worker_affinity(job: Job, attempt: int) -> dict[str, Any]:
    """Return the affinity that keeps workers on one node; Kubernetes lets the first of its kind go anywhere."""
    return _beside(job, attempt, names.ROLE_HEAD, names.ROLE_WORKER)


def _beside(job: Job, attempt: int, *roles: str) -> dict[str, Any]:
    # The submitter has the attempt's labels too, but mounts no claim and may run anywhere: nobody must follow it.
    selector = {
        "matchLabels": {names.UID_LABEL: job.uid, names.ATTEMPT_LABEL: str(attempt)},
        "matchExpressions": [{"key": names.ROLE_LABEL, "operator": "In", "values": list(roles)}],
    }
    term = {"labelSelector": selector, "topologyKey": HOSTNAME}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
