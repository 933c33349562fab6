"""What a job gets by the administrator's defaults, where it says nothing of it: priority class, nodes, taints, queue.

They are added when an attempt's objects are built, and the job's spec stays as its author wrote it. What the job says wins as a
whole: its tolerations are not added to the default ones, and an empty map, list or label means none. Defaults are the administrator's
own, so they are not judged with the job; one that the limits do not allow is a mistake in the settings. Pure.
Test: tests/controller/job/test_defaults.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from controller.job.facts import Job
from controller.job.limits import ANYTHING, RESERVED_PRIORITY_CLASSES, RESERVED_TAINTS, Limits, allows, listed
from controller.jobdefaults import JobDefaults
from controller.kinds import QUEUE_LABEL
from finetune.api.spec import Resources, Toleration
from finetune.api.status import DEFAULT_WORDS_MAX


def with_defaults(job: Job, defaults: JobDefaults) -> Job:
    """Return the job as its next attempt is built; ValueError if its spec could not be read."""
    spec = job.valid_spec
    fields = _fields(spec.resources or Resources(), defaults)
    if fields:
        spec = spec.model_copy(update={"resources": (spec.resources or Resources()).model_copy(update=fields)})
    return replace(job, spec=spec, queue=_queue(job, defaults) or job.queue)


def defaulted(job: Job, defaults: JobDefaults) -> list[str]:
    """Return what the defaults add to a job, for its status, each under the name by which the job would say otherwise."""
    if job.spec is None:
        return []
    fields = _fields(job.spec.resources or Resources(), defaults)
    words = {
        "resources.priorityClassName": fields.get("priority_class_name"),
        "resources.nodeSelector": ", ".join(f"{key}={value}" for key, value in sorted(fields.get("node_selector", {}).items())),
        "resources.tolerations": ", ".join(map(_taint, fields.get("tolerations", ()))),
        f"metadata.labels[{QUEUE_LABEL}]": _queue(job, defaults),
    }
    return [f"{field}: {value}"[:DEFAULT_WORDS_MAX] for field, value in words.items() if value]


def not_allowed(defaults: JobDefaults, limits: Limits) -> Iterator[str]:
    """Return which defaults the limits do not allow to a job that would ask for the same."""
    name, patterns = defaults.priority_class_name, limits.allowed_priority_classes
    if name is not None and not allows(patterns, name, RESERVED_PRIORITY_CLASSES):
        yield _words("priorityClassName", name, "allowedPriorityClasses", patterns, RESERVED_PRIORITY_CLASSES)
    keys = limits.allowed_toleration_keys
    for index, toleration in enumerate(defaults.tolerations):
        if toleration.key is None and ANYTHING not in keys:
            yield _words(f"tolerations[{index}]", f"without a key it tolerates every taint, and {ANYTHING}", "allowedTolerationKeys", keys)
        if toleration.key is not None and not allows(keys, toleration.key, RESERVED_TAINTS):
            yield _words(f"tolerations[{index}].key", toleration.key, "allowedTolerationKeys", keys, RESERVED_TAINTS)


def _fields(resources: Resources, defaults: JobDefaults) -> dict[str, Any]:
    """Return the members of `resources` that the defaults set."""
    given = {
        "priority_class_name": defaults.priority_class_name,
        "node_selector": dict(defaults.node_selector),
        "tolerations": list(defaults.tolerations),
    }
    return {name: value for name, value in given.items() if value and getattr(resources, name) is None}


def _queue(job: Job, defaults: JobDefaults) -> str | None:
    return defaults.queue_name if job.queue is None else None


def _taint(toleration: Toleration) -> str:
    """Return a toleration in the way that kubectl writes taints."""
    value = f"={toleration.value}" if toleration.value else ""
    return f"{toleration.key or '*'}{value}{f':{toleration.effect}' if toleration.effect else ''}"


def _words(field: str, value: str, limit: str, patterns: Sequence[str], reserved: Sequence[str] = ()) -> str:
    allowed = listed(patterns, reserved) or "nothing"
    return f"{field}: {value} is not in {limit} ({allowed}); allow it there, or choose another default"
