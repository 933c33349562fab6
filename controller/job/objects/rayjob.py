"""The RayJob of an attempt: a Ray cluster of its own, one driver, no retries by KubeRay.

Created once and never changed: KubeRay ignores later changes of the cluster, and a queueing system may own its spec. Pure.
Test: tests/controller/job/objects/test_rayjob.py.
"""

from typing import Any

from controller.job import names
from controller.job.facts import Job
from controller.job.objects import safety
from controller.job.objects.form import Form
from controller.job.objects.metadata import TrainerSettings, child
from controller.job.objects.placement import AccessModes, needs_one_node
from controller.job.objects.pods import head_template, job_resources, submitter_template, worker_template
from controller.job.quantities import memory_bytes
from controller.job.trainconfig import ray_cpus
from controller.kinds import PRIORITY_LABEL, QUEUE_LABEL, RAY_JOBS
from finetune.api.attempts import attempt_name
from finetune.api.spec import Resources

CLUSTER_TTL_SECONDS = 10
"""How long the cluster outlives its job: the next attempt waits for its pods to be gone."""
SUBMITTER_RETRIES = 2
"""The submitter follows the log over a connection that may break; when it starts again it finds the job it has submitted."""
OBJECT_STORE_SHARE = 4
OBJECT_STORE_MIN_BYTES, OBJECT_STORE_MAX_BYTES = 80 * 2**20, 2 * 2**30
"""Ray refuses stores under 75 MiB; little passes through it here, and never a tensor."""


def ray_job(job: Job, attempt: int, settings: TrainerSettings, access_modes: AccessModes, form: Form = Form()) -> dict[str, Any]:
    """Return the RayJob of attempt number `attempt`; `access_modes` are those of the claims that it mounts."""
    one_node = needs_one_node(job, access_modes)
    distributed = job.valid_spec.distributed
    workers = distributed.workers if distributed else 1
    resources = job_resources(job)
    spec = {
        **safety.RAY_JOB,
        "submitterConfig": {"backoffLimit": SUBMITTER_RETRIES},
        "ttlSecondsAfterFinished": CLUSTER_TTL_SECONDS,
        "submitterPodTemplate": submitter_template(job, attempt, settings),
        "rayClusterSpec": {
            "rayVersion": settings.ray_version,
            **safety.CLUSTER,
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0", **_start_parameters(settings.head_memory)},
                "template": head_template(job, attempt, settings, form, one_node=one_node),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": workers,
                    "minReplicas": workers,
                    "maxReplicas": workers,
                    "rayStartParams": {**_compute(resources), **_start_parameters(resources.memory)},
                    "template": worker_template(job, attempt, settings, form, one_node=one_node),
                }
            ],
        },
    }
    if job.queue:
        spec["suspend"] = True  # whoever admits it takes this back; it is never written again
    item = child(RAY_JOBS, attempt_name(job.name, attempt), job, attempt, spec=spec)
    item["metadata"]["labels"] |= _queue_labels(job)
    # KubeRay copies it to the RayCluster: a head that died must not be replaced by one without the run's state.
    item["metadata"]["annotations"] = {"ray.io/disable-provisioned-head-restart": "true"}
    return item


def _queue_labels(job: Job) -> dict[str, str]:
    named = {QUEUE_LABEL: job.queue, PRIORITY_LABEL: job.priority_class}
    return {label: name for label, name in named.items() if name} if job.queue else {}


def _compute(resources: Resources) -> dict[str, str]:
    """Return what Ray counts of a worker. KubeRay knows GPUs by the end of their resource's name, which not all of them have."""
    return {"num-cpus": str(ray_cpus(resources)), **({"num-gpus": str(resources.gpus)} if resources.gpus else {})}


def _start_parameters(memory: str) -> dict[str, str]:
    store = min(max(memory_bytes(memory) // OBJECT_STORE_SHARE, OBJECT_STORE_MIN_BYTES), OBJECT_STORE_MAX_BYTES)
    return {"metrics-export-port": str(names.METRICS_PORT), "object-store-memory": str(store)}
