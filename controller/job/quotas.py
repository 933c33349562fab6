"""What a ResourceQuota has refused, parsed from the API server's message, and whether a change of quotas may admit it.

A quota also counts objects that are not ours, so it changes all the time: only room for what was refused matters. Pure.
Test: tests/controller/job/test_quotas.py.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from controller.runtime.resources import KubeObject

SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
NUMBER = re.compile(r"(?P<number>[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(?P<suffix>[a-zA-Z]{0,2})")
NAME = re.compile(r"(?P<how>exceeded quota|failed quota|status unknown for quota): (?P<name>[a-z0-9][a-z0-9.-]*)")
REQUESTED = re.compile(r", requested: (?P<amounts>[^\s,=]+=[^\s,=]+(?:,[^\s,=]+=[^\s,=]+)*), used: ")
"""How the API server's quota plugin writes what exceeded a quota: `a=1,b=2`."""


@dataclass(frozen=True)
class Refusal:
    """What was refused: by which quota, empty if the message does not name it, and how much of what it counts was requested."""

    quota: str = ""
    requested: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, words: str) -> Self:
        """Read the message of a refused creation."""
        named = NAME.search(words)
        if named is None:
            return cls()
        amounts = REQUESTED.match(words, named.end()) if named["how"] == "exceeded quota" else None
        pairs = [pair.split("=") for pair in amounts["amounts"].split(",")] if amounts else []
        if not all(NUMBER.fullmatch(amount) for _, amount in pairs):
            pairs = []
        return cls(named["name"], {resource: amount_of(amount) for resource, amount in pairs})

    def concerns(self, old: KubeObject | None, new: KubeObject | None) -> bool:
        """Return whether a change of one quota made room of the kind that was lacking, perhaps still too little."""
        item = new if old is None else old
        if item is None or (self.quota and item["metadata"]["name"] != self.quota):
            return False
        if old is None:
            return not self.quota  # a new one may allow what none allowed before
        return makes_room(old, new, self.requested or None)

    def may_pass(self, before: Sequence[KubeObject], after: Sequence[KubeObject]) -> bool:
        """Return whether the namespace's quotas may admit by now, `after`, what they refused `before`."""
        older, newer = _by_name(before), _by_name(after)
        if not self.quota:
            return any(self.concerns(older.get(name), newer.get(name)) for name in older.keys() | newer.keys())
        old, new = older.get(self.quota), newer.get(self.quota)
        if old is None or new is None or not self.requested:
            return self.concerns(old, new) or (old is None and new is not None and self.fits(new))
        changed = _version(old) != _version(new)
        return changed and (_selector(old) != _selector(new) or self.fits(new))

    def fits(self, quota: KubeObject) -> bool:
        """Return whether the quota that refused has room for all that was requested; False if it is not known how much that is."""
        if quota["metadata"]["name"] != self.quota or not self.requested:
            return False
        hard, used = _hard(quota), _used(quota)
        if hard and not used:
            return False  # everything is refused until the usage is known
        return all(used.get(name, 0.0) + amount <= hard.get(name, float("inf")) for name, amount in self.requested.items())


def makes_room(old: KubeObject, new: KubeObject | None, resources: Collection[str] | None = None) -> bool:
    """Return whether a quota is gone, has another scope, or has more room than before in one of these resources, or in any."""
    if new is None or _selector(old) != _selector(new):
        return True
    old_hard, new_hard, old_used, new_used = _hard(old), _hard(new), _used(old), _used(new)
    watched = old_hard.keys() | new_used.keys() if resources is None else set(resources)
    if watched & (new_used.keys() - old_used.keys()):
        return True  # everything is refused until the usage is known
    endless = float("inf")
    more = any(new_hard.get(name, endless) > old_hard.get(name, endless) for name in watched)
    return more or any(new_used.get(name, 0.0) < old_used.get(name, 0.0) for name in watched)


def amount_of(quantity: str) -> float:
    """Return any quantity that the API server writes as a number, 0 if it cannot be parsed."""
    parts = NUMBER.fullmatch(str(quantity))
    return float(parts["number"]) * SUFFIXES.get(parts["suffix"], 1.0) if parts else 0.0


def _hard(quota: KubeObject) -> dict[str, float]:
    """Return what is enforced: a changed spec counts only once the quota's controller has copied it into the status."""
    return _amounts((quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard"))


def _used(quota: KubeObject) -> dict[str, float]:
    return _amounts((quota.get("status") or {}).get("used"))


def _amounts(quantities: Mapping[str, str] | None) -> dict[str, float]:
    return {name: amount_of(text) for name, text in (quantities or {}).items()}


def _selector(quota: KubeObject) -> Any:
    return (quota.get("spec") or {}).get("scopeSelector")


def _version(quota: KubeObject) -> tuple[str | None, str | None]:
    return quota["metadata"].get("uid"), quota["metadata"].get("resourceVersion")


def _by_name(quotas: Sequence[KubeObject]) -> dict[str, KubeObject]:
    return {quota["metadata"]["name"]: quota for quota in quotas}
