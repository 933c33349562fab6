"""What an attempt is made of beside its RayJob and its progress ConfigMap: objects of its own, or less where less is enough.

Where the API server itself limits each driver to its own progress ConfigMap (controller.job.objects.policy), all attempts in a
namespace share an account, and the trainer's configuration travels inside the RayJob, unless it is large. Elsewhere an attempt
has an account, a Role and a RoleBinding of its own, and a ConfigMap with the configuration. Pure.
Test: tests/controller/job/objects/test_form.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHARED_ACCOUNT = "finetune-trainer"
"""Account, Role and RoleBinding of the drivers in a namespace. No attempt has this name: those end with a number."""
CONFIG_ANNOTATION = "finetune.dev/config"
CONFIG_VOLUME = "finetune-config"
CONFIG_INSIDE_MAX_BYTES = 32 * 1024
"""All annotations of an object may have 256 KiB; etcd holds the configuration in RayJob, RayCluster and pod."""


@dataclass(frozen=True)
class Form:
    """`config_inside`: the configuration is an annotation of the head's pod, and the driver creates its progress ConfigMap itself.

    `shared_account`: the head uses the account of its namespace.
    """

    config_inside: bool = False
    shared_account: bool = False

    def to_wire(self) -> dict[str, bool]:
        """Return the form as a cache keeps it."""
        return {"configInside": self.config_inside, "sharedAccount": self.shared_account}


def form_of(ray_job: Mapping[str, Any]) -> Form:
    """Return the form of a stored RayJob, or of what a cache has kept of one."""
    kept = ray_job.get("form")
    if isinstance(kept, Mapping):
        return Form(bool(kept.get("configInside")), bool(kept.get("sharedAccount")))
    head = _mapping(_mapping(_mapping(ray_job.get("spec")).get("rayClusterSpec")).get("headGroupSpec"))
    spec = _mapping(_mapping(head.get("template")).get("spec"))
    volumes = [each for each in spec.get("volumes") or [] if isinstance(each, Mapping)]
    inside = any(each.get("name") == CONFIG_VOLUME and "downwardAPI" in each for each in volumes)
    return Form(inside, spec.get("serviceAccountName") == SHARED_ACCOUNT)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
