"""What the administrator lets a job ask for: models, workers, GPUs, priority classes, tolerations, the Secret with the token of the hub.

KubeRay creates a job's pods, not the job's author, so the policies for the author's own pods do not apply to them: the
controller's rights must not become those of everybody who may create a job. Pure. Test: tests/controller/job/test_limits.py.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

from finetune.api.sources import ModelSource
from finetune.api.spec import FineTuneJobSpec, Resources

ANYTHING = "**"
"""The pattern for no limits: it includes what Kubernetes reserves for itself, and a toleration of every taint."""
RESERVED_PRIORITY_CLASSES = ("system-",)
RESERVED_TAINTS = ("node.kubernetes.io/", "node-role.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
RESERVED_SECRETS = ("sh.helm.release.",)


CLAIM = "claim:"
"""Before the name of a claim and the folder on it, where a model is not from the hub."""


class Limits(Protocol):
    """Patterns of the names that jobs may use, and numbers for each job.

    `*` matches any text, but not what Kubernetes reserves for itself.
    """

    @property
    def allowed_priority_classes(self) -> Sequence[str]:
        """For resources.priorityClassName."""

    @property
    def allowed_toleration_keys(self) -> Sequence[str]:
        """For the keys of resources.tolerations."""

    @property
    def allowed_token_secrets(self) -> Sequence[str]:
        """For model.tokenSecret.name."""

    @property
    def allowed_models(self) -> Sequence[str]:
        """For every model that a job names: by its name on the hub, or as `claim:CLAIM/FOLDER`."""

    @property
    def max_workers(self) -> int | None:
        """For distributed.workers; None for no limit."""

    @property
    def max_gpus(self) -> int | None:
        """For the GPUs of all workers together."""


def refusals(spec: FineTuneJobSpec, limits: Limits, base: FineTuneJobSpec | None = None) -> tuple[str, ...]:
    """Return what the job asks for and may not have, each with its field, what is allowed and what to do.

    `base` is the earlier job's that names the weights, where `model.fineTuneJob` is used and that job is known.
    """
    return (*_refusals(spec, limits), *_base(base, limits.allowed_models))


def _refusals(spec: FineTuneJobSpec, limits: Limits) -> Iterator[str]:
    resources, secret = spec.resources or Resources(), spec.model.token_secret
    name = resources.priority_class_name
    if name is not None and not allows(limits.allowed_priority_classes, name, RESERVED_PRIORITY_CLASSES):
        yield _words("resources.priorityClassName", name, limits.allowed_priority_classes, RESERVED_PRIORITY_CLASSES, "PriorityClasses")
    for index, toleration in enumerate(resources.tolerations or []):
        field, allowed = f"resources.tolerations[{index}]", limits.allowed_toleration_keys
        if toleration.key is None and ANYTHING not in allowed:
            instead = f"name the taints that the job may tolerate ({listed(allowed, RESERVED_TAINTS)})" if allowed else "leave it out"
            yield f"{field}: without a key it tolerates every taint, which the administrator does not allow; {instead}, in a new job"
        if toleration.key is not None and not allows(allowed, toleration.key, RESERVED_TAINTS):
            yield _words(f"{field}.key", toleration.key, allowed, RESERVED_TAINTS, "taints")
    if secret is not None and not allows(limits.allowed_token_secrets, secret.name, RESERVED_SECRETS):
        yield _words("model.tokenSecret.name", secret.name, limits.allowed_token_secrets, RESERVED_SECRETS, "Secrets")
    yield from _models(spec, limits.allowed_models)
    yield from _sizes(spec.distributed.workers if spec.distributed else 1, resources.gpus, limits)


def _models(spec: FineTuneJobSpec, allowed: Sequence[str]) -> Iterator[str]:
    others = spec.augmentation.models() if spec.augmentation else ()
    for field, model in (("model", spec.model), *((field, model) for _, _, field, model in others)):
        name = _name(model)
        if name is not None and not allows(allowed, name, ()):
            claim = model.persistent_volume_claim
            yield _words(f"{field}.{'name' if claim is None else 'persistentVolumeClaim'}", name, allowed, (), "models")


def _base(base: FineTuneJobSpec | None, allowed: Sequence[str]) -> Iterator[str]:
    """Return that the model which an earlier job began with may not be used: the list may have changed since."""
    name = _name(base.model) if base is not None else None
    if name is not None and not allows(allowed, name, ()):
        yield _words("model.fineTuneJob", f"{name}, which that job began with,", allowed, (), "models")


def _name(model: ModelSource) -> str | None:
    claim = model.persistent_volume_claim
    return f"{CLAIM}{claim.claim_name}/{claim.path}" if claim is not None else model.name


def _sizes(workers: int, gpus: int, limits: Limits) -> Iterator[str]:
    fewer = "in a new job, or ask the administrator"
    if limits.max_workers is not None and workers > limits.max_workers:
        most = f"the administrator allows a job of this namespace at most {limits.max_workers}"
        yield f"distributed.workers: {workers} workers are too many: {most}; ask for fewer, {fewer}"
    if limits.max_gpus is not None and workers * gpus > limits.max_gpus:
        most = f"the administrator allows a job of this namespace at most {limits.max_gpus} in all"
        yield f"resources.gpus: {workers} x {gpus} GPUs are too many: {most}; ask for fewer GPUs or workers, {fewer}"


def allows(patterns: Sequence[str], name: str, reserved: Sequence[str]) -> bool:
    """Return whether a pattern matches the name; a reserved prefix must be in the pattern's text before its first `*`."""
    prefix = next((prefix for prefix in reserved if name.startswith(prefix)), "")
    return any(pattern == ANYTHING or (_matches(pattern, name) and pattern.split("*")[0].startswith(prefix)) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None


def _words(field: str, name: str, patterns: Sequence[str], reserved: Sequence[str], kind: str) -> str:
    if not patterns:
        rest = " leave it out, in a new job, or" if reserved else ""
        return f"{field}: {name} is not allowed: the administrator allows no {kind} here;{rest} ask the administrator"
    return (
        f"{field}: {name} is not allowed by the administrator; allowed {kind}: {listed(patterns, reserved)}; name one of these"
        f"{' or leave it out' if reserved else ''}, in a new job, or ask the administrator"
    )


def listed(patterns: Sequence[str], reserved: Sequence[str]) -> str:
    """Return the patterns in words, with what `*` leaves out."""
    exceptions = " and ".join(f"{prefix}…" for prefix in reserved)
    return ", ".join(f"all but {exceptions}" if pattern == "*" and reserved else pattern for pattern in patterns)
