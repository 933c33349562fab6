"""Names, labels and paths that parts of the controller must agree on, and KubeRay's own where we read them.

Pure. Test: tests/controller/job/test_names.py.
"""

import re

from controller.kinds import JOB_LABEL
from finetune.api.attempts import attempt_name

UID_LABEL = "finetune.dev/job-uid"
"""Tells a job's objects from those of a deleted job of the same name."""
ATTEMPT_LABEL = "finetune.dev/attempt"
ROLE_LABEL = "finetune.dev/role"
ROLE_HEAD, ROLE_WORKER, ROLE_SUBMITTER = "head", "worker", "submitter"

CONFIG_DIRECTORY = "/etc/finetune"
CONFIG_KEY = "config.json"
CONFIG_MAPS_DIRECTORY = "/mnt/configmaps"

DASHBOARD_PORT = 8265
METRICS_PORT = 8080
UID_PREFIX_LENGTH = 8
POD_NAME_LENGTH = 50
DIGITS = re.compile("[1-9][0-9]*")


def config_name(job_name: str, attempt: int) -> str:
    """Return the name of the ConfigMap with the trainer's configuration."""
    return f"{attempt_name(job_name, attempt)}-config"


def progress_name(job_name: str, job_uid: str, attempt: int) -> str:
    """Return the name of the ConfigMap that the trainer reports to.

    The trainer may patch it, and so can make it outlive its job; with the UID it does not block the next job of that name.
    """
    return f"{attempt_name(job_name, attempt)}-progress-{job_uid[:UID_PREFIX_LENGTH]}"


def attempt_of_ray_job(name: str, job_name: str) -> int | None:
    """Return the number of the attempt whose RayJob has this name, None if it is not the name of one of the job's RayJobs."""
    return _number(name, f"{job_name}-", "")


def attempt_of_progress(name: str, job_name: str, job_uid: str) -> int | None:
    """Return the number of the attempt whose progress ConfigMap has this name, None if it is not one of the job's."""
    return _number(name, f"{job_name}-", f"-progress-{job_uid[:UID_PREFIX_LENGTH]}")


def _number(name: str, before: str, after: str) -> int | None:
    """Return the number between two parts of a name, None if that is not what the name is made of."""
    # A pattern with the job's name in it would be compiled for each job, which takes most of the time that a look at it takes.
    if not (name.startswith(before) and name.endswith(after)):
        return None
    digits = name[len(before) : len(name) - len(after)]
    return int(digits) if DIGITS.fullmatch(digits) else None


def labels(job_name: str, job_uid: str, attempt: int, role: str | None = None) -> dict[str, str]:
    """Return the labels of an object of an attempt."""
    common = {JOB_LABEL: job_name, UID_LABEL: job_uid, ATTEMPT_LABEL: str(attempt)}
    return common if role is None else {**common, ROLE_LABEL: role}


def output_folder(job_name: str, job_uid: str, path: str) -> str:
    """Return a job's folder in its output claim: each job has its own, also when a name is used again."""
    own = f"{job_name}-{job_uid[:UID_PREFIX_LENGTH]}"
    return f"{path.strip('/')}/{own}" if path.strip("/") else own


def head_service(cluster: str) -> str:
    """Return the name of the service of a RayCluster's head, where the dashboard is."""
    return f"{cluster}-head-svc"


def token_secret(cluster: str) -> str:
    """Return the name of the Secret with a RayCluster's token: KubeRay cuts long names from the left."""
    name = cluster[-POD_NAME_LENGTH:]
    return name if name[0].isalpha() else "r" + name[1:]
