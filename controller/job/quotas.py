"""Whether a change of ResourceQuotas may let something in that they refused before.

Pure. Test: tests/controller/job/test_quotas.py.
"""

import re
from collections.abc import Mapping, Sequence

from controller.runtime.resources import KubeObject

SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
NUMBER = re.compile(r"(?P<number>[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(?P<suffix>[a-zA-Z]{0,2})")


def has_room_appeared(before: Sequence[KubeObject], after: Sequence[KubeObject]) -> bool:
    """Tell whether any quota of a namespace went, allows more, or has less in use."""
    newer = {quota["metadata"]["uid"]: quota for quota in after}
    return any(makes_room(quota, newer.get(quota["metadata"]["uid"])) for quota in before)


def makes_room(old: KubeObject | None, new: KubeObject | None) -> bool:
    """Tell whether a change of one ResourceQuota may let something in that it refused."""
    if old is None or new is None:
        return old is not None
    if old.get("spec", {}).get("scopes") != new.get("spec", {}).get("scopes"):
        return True
    old_hard, new_hard = _amounts(old, "spec", "hard"), _amounts(new, "spec", "hard")
    old_used, new_used = _amounts(old, "status", "used"), _amounts(new, "status", "used")
    if new_used and not old_used:
        return True  # until it is known what is in use, everything is refused
    more = any(name not in new_hard or new_hard[name] > amount for name, amount in old_hard.items())
    return more or any(new_used.get(name, 0.0) < amount for name, amount in old_used.items())


def _amounts(quota: KubeObject, section: str, member: str) -> Mapping[str, float]:
    return {name: amount_of(text) for name, text in ((quota.get(section) or {}).get(member) or {}).items()}


def amount_of(quantity: str) -> float:
    """Return any quantity that the API server writes as a number; it is canonical there, so that 0 stands for what is unknown."""
    parts = NUMBER.fullmatch(str(quantity))
    return float(parts["number"]) * SUFFIXES.get(parts["suffix"], 1.0) if parts else 0.0
