"""What the administrator lets a job ask for: priority classes, tolerations and the Secret with the token of the hub.

KubeRay creates a job's pods, not the job's author, so the policies for the author's own pods do not apply to them: the
controller's rights must not become those of everybody who may create a job. Pure. Test: tests/controller/job/test_limits.py.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

from finetune.api.spec import FineTuneJobSpec, Resources

ANYTHING = "**"
"""The pattern for no limits: it includes what Kubernetes reserves for itself, and a toleration of every taint."""
RESERVED_PRIORITY_CLASSES = ("system-",)
RESERVED_TAINTS = ("node.kubernetes.io/", "node-role.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
RESERVED_SECRETS = ("sh.helm.release.",)


class Limits(Protocol):
    """Patterns of the names that jobs may use; `*` matches any text, but not what Kubernetes reserves for itself."""

    @property
    def allowed_priority_classes(self) -> Sequence[str]:
        """For resources.priorityClassName."""

    @property
    def allowed_toleration_keys(self) -> Sequence[str]:
        """For the keys of resources.tolerations."""

    @property
    def allowed_token_secrets(self) -> Sequence[str]:
        """For model.tokenSecret.name."""


def refusals(spec: FineTuneJobSpec, limits: Limits) -> tuple[str, ...]:
    """Return what the job asks for and may not have, each with its field, what is allowed and what to do."""
    return tuple(_refusals(spec, limits))


def _refusals(spec: FineTuneJobSpec, limits: Limits) -> Iterator[str]:
    resources, secret = spec.resources or Resources(), spec.model.token_secret
    name = resources.priority_class_name
    if name is not None and not allows(limits.allowed_priority_classes, name, RESERVED_PRIORITY_CLASSES):
        yield _words("resources.priorityClassName", name, limits.allowed_priority_classes, RESERVED_PRIORITY_CLASSES, "PriorityClasses")
    for index, toleration in enumerate(resources.tolerations or []):
        field, allowed = f"resources.tolerations[{index}]", limits.allowed_toleration_keys
        if toleration.key is None and ANYTHING not in allowed:
            yield (
                f"{field}: without a key it tolerates every taint, which the administrator does not allow; name the taints that the job "
                f"may tolerate ({_listed(allowed, RESERVED_TAINTS)}), in a new job"
            )
        if toleration.key is not None and not allows(allowed, toleration.key, RESERVED_TAINTS):
            yield _words(f"{field}.key", toleration.key, allowed, RESERVED_TAINTS, "taints")
    if secret is not None and not allows(limits.allowed_token_secrets, secret.name, RESERVED_SECRETS):
        yield _words("model.tokenSecret.name", secret.name, limits.allowed_token_secrets, RESERVED_SECRETS, "Secrets")


def allows(patterns: Sequence[str], name: str, reserved: Sequence[str]) -> bool:
    """Return whether a pattern matches the name; a reserved prefix must be in the pattern's text before its first `*`."""
    prefix = next((prefix for prefix in reserved if name.startswith(prefix)), "")
    return any(pattern == ANYTHING or (_matches(pattern, name) and pattern.split("*")[0].startswith(prefix)) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None


def _words(field: str, name: str, patterns: Sequence[str], reserved: Sequence[str], kind: str) -> str:
    return (
        f"{field}: {name} is not allowed by the administrator; allowed {kind}: {_listed(patterns, reserved)}; name one of these or leave "
        "it out, in a new job, or ask the administrator"
    )


def _listed(patterns: Sequence[str], reserved: Sequence[str]) -> str:
    if not patterns:
        return "none"
    exceptions = " and ".join(f"{prefix}…" for prefix in reserved)
    return ", ".join(f"all but {exceptions}" if pattern == "*" else pattern for pattern in patterns)
