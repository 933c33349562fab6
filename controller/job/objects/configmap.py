"""The two ConfigMaps of an attempt: the trainer's configuration, and what it reports into.

Pure. Test: tests/controller/job/objects/test_rbac.py.
"""

import json
from typing import Any

from controller.job import names
from controller.job.facts import Job
from controller.job.objects.form import CONFIG_INSIDE_MAX_BYTES
from controller.job.objects.metadata import child, owner_reference
from controller.job.trainconfig import train_config
from controller.runtime.resources import CONFIG_MAPS


def config_map(job: Job, attempt: int) -> dict[str, Any]:
    """Return the trainer's configuration; immutable, so that nobody can change it under a running trainer."""
    text = json.dumps(train_config(job, attempt).to_wire(), indent=1)
    return child(CONFIG_MAPS, names.config_name(job.name, attempt), job, attempt, immutable=True, data={names.CONFIG_KEY: text})


def config_text(job: Job, attempt: int) -> str:
    """Return the trainer's configuration in one line, as it travels inside a RayJob. The driver then creates what it reports into."""
    config, metadata = train_config(job, attempt), progress_config_map(job, attempt)["metadata"]
    told = {name: metadata[name] for name in ("labels", "ownerReferences")}
    config = config.model_copy(update={"progress": config.progress.model_copy(update={"metadata": told})})
    return json.dumps(config.to_wire(), separators=(",", ":"))


def fits_inside(job: Job, attempt: int) -> bool:
    """Return whether the configuration is small enough for that."""
    return len(config_text(job, attempt).encode()) <= CONFIG_INSIDE_MAX_BYTES


def progress_config_map(job: Job, attempt: int) -> dict[str, Any]:
    """Return the object that the trainer writes its records into; it may patch this one and no other.

    It does not block the deletion of its owner: a finalizer that the trainer adds must not hold up a foreground deletion.
    """
    item = child(CONFIG_MAPS, names.progress_name(job.name, job.uid, attempt), job, attempt, data={})
    item["metadata"]["ownerReferences"] = [owner_reference(job) | {"blockOwnerDeletion": False}]
    return item
