"""The two ConfigMaps of an attempt: what the trainer is told, and where it reports.

Pure. Test: tests/controller/job/objects/test_rbac.py.
"""

import json
from typing import Any

from controller.job import names
from controller.job.facts import Job
from controller.job.objects.metadata import child, owner_reference
from controller.job.trainconfig import train_config
from controller.runtime.resources import CONFIG_MAPS


def config_map(job: Job, attempt: int) -> dict[str, Any]:
    """Return the trainer's configuration; immutable, so that no running trainer can be told something else."""
    text = json.dumps(train_config(job, attempt).to_wire(), indent=1)
    return child(CONFIG_MAPS, names.config_name(job.name, attempt), job, attempt, immutable=True, data={names.CONFIG_KEY: text})


def progress_config_map(job: Job, attempt: int) -> dict[str, Any]:
    """Return the empty object that the trainer writes its records into; it may patch this one and create none.

    A trainer that gives it a finalizer must not hold up a job that is deleted in the foreground: it blocks no deletion.
    """
    item = child(CONFIG_MAPS, names.progress_name(job.name, job.uid, attempt), job, attempt, data={})
    item["metadata"]["ownerReferences"] = [owner_reference(job) | {"blockOwnerDeletion": False}]
    return item
