"""Pod templates of an attempt: the Ray head, its workers and the submitter, all under the restricted security profile.

Only curated fields of the job reach a pod; its image, environment and small sizes are the operator's. Pure.
Test: tests/controller/job/objects/test_pods.py.
"""

import copy
from collections.abc import Iterator
from typing import Any

from controller.job import names
from controller.job.earlier import folder_of, recorded
from controller.job.facts import Job
from controller.job.objects import safety
from controller.job.objects.configmap import config_text
from controller.job.objects.form import CONFIG_ANNOTATION, CONFIG_VOLUME, SHARED_ACCOUNT, Form
from controller.job.objects.gpus import ask_for_gpus
from controller.job.objects.metadata import TrainerSettings
from controller.job.objects.placement import claims, head_affinity, worker_affinity
from controller.job.quantities import memory_bytes
from finetune.api.attempts import attempt_name
from finetune.api.resolve import references
from finetune.api.sources import CLAIMS_DIRECTORY
from finetune.api.spec import FineTuneJobSpec, Resources
from finetune.system.threads import THREADS_ENVIRONMENT

HOME = "/home/finetune"
SERVICE_ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 600
"""As short as the API server allows: if the account is created again, the pod gets a valid token only when this one is renewed."""
SHARED_MEMORY_DIVISOR = 2
"""Shared memory counts towards the container's memory: half leaves room for the rest."""
LAST_WORDS = {"terminationMessagePolicy": "FallbackToLogsOnError"}
"""The end of a failed container's log comes into the pod's status, which the controller watches; it has no right to read logs."""
TOKEN_VOLUME = "api-token"  # noqa: S105 - a volume's name

SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": str(names.METRICS_PORT), "prometheus.io/path": "/metrics"}
"""Where a Prometheus finds Ray's metrics that goes by annotations; one of the Prometheus operator goes by the chart's PodMonitor."""

Pod = dict[str, Any]


def head_template(job: Job, attempt: int, settings: TrainerSettings, form: Form = Form(), *, one_node: bool = False) -> Pod:
    """Return the head's template: it runs the driver and no rank, and is the only pod with a token for the API server.

    With `one_node` head and workers share a node.
    """
    container = _trainer_container(safety.HEAD_CONTAINER, job, settings, _sizes(settings.head_cpu, settings.head_memory))
    container["ports"] = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": names.DASHBOARD_PORT},
        {"name": "client", "containerPort": 10001},
        {"name": "metrics", "containerPort": names.METRICS_PORT},
    ]
    container["volumeMounts"].append({"name": TOKEN_VOLUME, "mountPath": SERVICE_ACCOUNT_DIRECTORY, "readOnly": True})
    template = _template(job, attempt, names.ROLE_HEAD, settings, container)
    template["metadata"]["annotations"] = dict(SCRAPED)
    template["spec"]["volumes"] = [*_volumes(job, attempt, settings.head_memory), _token_volume()]
    if form.config_inside:
        template["metadata"]["annotations"][CONFIG_ANNOTATION] = config_text(job, attempt)
        template["spec"]["volumes"][0] = _config_inside()
    account = SHARED_ACCOUNT if form.shared_account else attempt_name(job.name, attempt)
    # The run's state dies with the head: the attempt must fail and the next one start, not a new head without that state.
    template["spec"] |= {"serviceAccountName": account, "restartPolicy": "Never"}
    if one_node:
        template["spec"]["affinity"] = head_affinity(job, attempt)
        # It must tolerate the taints of the workers' node.
        template["spec"] |= _tolerations(job_resources(job))
    return template


def worker_template(job: Job, attempt: int, settings: TrainerSettings, form: Form = Form(), *, one_node: bool = False) -> Pod:
    """Return the workers' template: each pod has `resources` and no token. With `one_node` all share a node."""
    resources = job_resources(job)
    container = _trainer_container(safety.WORKER_CONTAINER, job, settings, _sizes(resources.cpu, resources.memory))
    container["ports"] = [{"name": "metrics", "containerPort": names.METRICS_PORT}]
    template = _template(job, attempt, names.ROLE_WORKER, settings, container)
    template["metadata"]["annotations"] = dict(SCRAPED)
    template["spec"]["volumes"] = _volumes(job, attempt, resources.memory)
    if form.config_inside:
        # The driver tells the ranks what they need.
        for place in (template["spec"]["volumes"], container["volumeMounts"]):
            place[:] = [each for each in place if each["name"] != CONFIG_VOLUME]
    if one_node:
        template["spec"]["affinity"] = worker_affinity(job, attempt)
    if resources.node_selector:
        template["spec"]["nodeSelector"] = dict(resources.node_selector)
    template["spec"] |= _tolerations(resources)
    if resources.gpus:
        container["env"].append({"name": "NCCL_DEBUG", "value": "WARN"})
        ask_for_gpus(template["spec"], resources.gpus, settings)
    return template


def submitter_template(job: Job, attempt: int, settings: TrainerSettings) -> Pod:
    """Return the submitter's template; KubeRay adds the command and the token of the Ray cluster."""
    container = {
        "name": safety.SUBMITTER_CONTAINER,
        "image": settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "resources": _sizes(settings.submitter_cpu, settings.submitter_memory),
        **LAST_WORDS,
        **copy.deepcopy(dict(safety.CONTAINER)),
        "env": [{"name": "HOME", "value": HOME}],
        "volumeMounts": [{"name": "home", "mountPath": HOME}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a mount point
    }
    template = _template(job, attempt, names.ROLE_SUBMITTER, settings, container)
    template["spec"] |= {"restartPolicy": "Never", "volumes": [_empty("home"), _empty("tmp")]}
    return template


def job_resources(job: Job) -> Resources:
    """Return the resources of a worker pod, with defaults where the job names none."""
    return job.valid_spec.resources or Resources()


def _template(job: Job, attempt: int, role: str, settings: TrainerSettings, container: dict[str, Any]) -> Pod:
    spec: dict[str, Any] = {
        **copy.deepcopy(dict(safety.POD)),
        "enableServiceLinks": False,
        "containers": [container],
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    priority = job_resources(job).priority_class_name
    if priority:
        spec["priorityClassName"] = priority
    return {"metadata": {"labels": names.labels(job.name, job.uid, attempt, role)}, "spec": spec}


def _trainer_container(name: str, job: Job, settings: TrainerSettings, resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "env": list(_environment(job, settings)),
        "resources": resources,
        **LAST_WORDS,
        **copy.deepcopy(dict(safety.CONTAINER)),
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": names.CONFIG_DIRECTORY, "readOnly": True},
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - a mount point
            *_claim_mounts(job),
            *_config_map_mounts(job.valid_spec),
        ],
    }


def _environment(job: Job, settings: TrainerSettings) -> Iterator[dict[str, Any]]:
    own = {
        "HOME": HOME,
        "PYTHONUNBUFFERED": "1",
        # KubeRay sets it too, with the token. A KubeRay without token support leaves this one, and then Ray refuses to start.
        "RAY_AUTH_MODE": "token",
        # Without it the dashboard's API does not show train runs.
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    }
    # Requests of CPU have no limit, so pods may share processors.
    for name, value in {**THREADS_ENVIRONMENT, **settings.trainer_env, **own}.items():
        yield {"name": name, "value": value}
    secret = job.valid_spec.model.token_secret
    if secret is not None:  # for the processes that fetch from the hub: the trainer takes it from all others
        yield {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}


def _sizes(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    """Return requests and limits: memory that is not reserved gets a run killed, a CPU limit makes it slow."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _tolerations(resources: Resources) -> dict[str, Any]:
    return {"tolerations": [toleration.to_wire() for toleration in resources.tolerations]} if resources.tolerations else {}


def _config_maps(spec: FineTuneJobSpec) -> list[str]:
    return sorted({reference.config_map.name for reference in references(spec) if reference.config_map is not None})


def _claim_mounts(job: Job) -> Iterator[dict[str, Any]]:
    volumes = {}
    for index, (name, read_only) in enumerate(claims(job)):
        volumes[name] = f"claim-{index}"
        yield {"name": volumes[name], "mountPath": f"{CLAIMS_DIRECTORY}/{name}", "readOnly": read_only}
    # What an earlier job has written is only read, also where it lies on the claim that this job writes to.
    written = job.valid_spec.output.persistent_volume_claim.claim_name
    for folder in sorted({folder_of(earlier) for earlier in recorded(job) if earlier.output.claim_name == written}):
        yield {"name": volumes[written], "mountPath": f"{CLAIMS_DIRECTORY}/{written}/{folder}", "subPath": folder, "readOnly": True}


def _config_map_mounts(spec: FineTuneJobSpec) -> Iterator[dict[str, Any]]:
    for index, name in enumerate(_config_maps(spec)):
        yield {"name": f"configmap-{index}", "mountPath": f"{names.CONFIG_MAPS_DIRECTORY}/{name}", "readOnly": True}


def _volumes(job: Job, attempt: int, memory: str) -> list[dict[str, Any]]:
    spec = job.valid_spec
    shared = {"medium": "Memory", "sizeLimit": str(memory_bytes(memory) // SHARED_MEMORY_DIVISOR)}
    return [
        {"name": CONFIG_VOLUME, "configMap": {"name": names.config_name(job.name, attempt)}},
        _empty("home"),
        _empty("tmp"),
        {"name": "shared-memory", "emptyDir": shared},
        *(
            {"name": f"claim-{i}", "persistentVolumeClaim": {"claimName": name, **({"readOnly": True} if read_only else {})}}
            for i, (name, read_only) in enumerate(claims(job))
        ),
        *({"name": f"configmap-{i}", "configMap": {"name": name}} for i, name in enumerate(_config_maps(spec))),
    ]


def _config_inside() -> dict[str, Any]:
    """Return the volume with the configuration from the pod's own annotation."""
    source = {"fieldPath": f"metadata.annotations['{CONFIG_ANNOTATION}']"}
    return {"name": CONFIG_VOLUME, "downwardAPI": {"items": [{"path": names.CONFIG_KEY, "fieldRef": source}]}}


def _token_volume() -> dict[str, Any]:
    """Return the volume with the head's token, as in-cluster clients expect it."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": TOKEN_VOLUME, "projected": {"sources": sources}}


def _empty(name: str) -> dict[str, Any]:
    return {"name": name, "emptyDir": {}}
