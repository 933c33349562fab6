"""What all objects of an attempt have in common, and the settings that they are built from.

Pure. Test: tests/controller/job/objects/test_rbac.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from controller.job import names
from controller.job.facts import Job
from controller.kinds import FINE_TUNE_JOBS
from controller.runtime.resources import Resource
from controller.runtime.rights import rights
from finetune.api.spec import API_VERSION, KIND

RIGHTS = rights(
    FINE_TUNE_JOBS,
    "update",
    subresource="finalizers",
    why="Where owner references are guarded, naming a job as the owner of a child takes this.",
)


class TrainerSettings(Protocol):
    """The operator's settings for an attempt's pods."""

    @property
    def trainer_image(self) -> str:
        """Image of head, workers and submitter."""

    @property
    def image_pull_policy(self) -> str:
        """IfNotPresent, Always or Never."""

    @property
    def image_pull_secrets(self) -> Sequence[str]:
        """Names of Secrets in the job's namespace."""

    @property
    def trainer_env(self) -> Mapping[str, str]:
        """Environment of head and workers, such as a proxy or HF_ENDPOINT."""

    @property
    def gpu_resource(self) -> str:
        """Name of the resource that GPUs are asked for by."""

    @property
    def gpu_claim_template(self) -> str | None:
        """Name of the ResourceClaimTemplate that GPUs are claimed by instead; None where they are not."""

    @property
    def head_cpu(self) -> str:
        """CPU request of the head."""

    @property
    def head_memory(self) -> str:
        """Memory of the head, which runs the driver."""

    @property
    def submitter_cpu(self) -> str:
        """CPU request of the submitter."""

    @property
    def submitter_memory(self) -> str:
        """Memory of the submitter."""

    @property
    def ray_version(self) -> str:
        """Version of Ray in the image."""


def child(resource: Resource, name: str, job: Job, attempt: int, **content: Any) -> dict[str, Any]:
    """Return an object that is deleted with its job: owned by it, without a finalizer."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "namespace": job.namespace,
            "labels": names.labels(job.name, job.uid, attempt),
            "ownerReferences": [owner_reference(job)],
        },
        **content,
    }


def owner_reference(job: Job) -> dict[str, Any]:
    """Return the reference by which the garbage collector deletes an object with its job."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": job.name,
        "uid": job.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
