"""Who asked the API server for what, and when: read from its audit log. Pure. Test: tests/bench/controller/test_audit.py."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

POLICY: Mapping[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["*"]},
        # The bench itself.
        {"level": "None", "users": ["admin"], "verbs": ["get", "list", "watch", "patch", "update", "delete"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class Asked:
    """A request that was answered, or a watch that was opened. Times are seconds since the epoch."""

    user: str
    verb: str
    resource: str
    """The plural, with its subresource."""
    namespace: str
    name: str
    code: int
    received: float
    answered: float


def asked(lines: Iterable[str]) -> Iterator[Asked]:
    """Yield the requests of an audit log; a last line that is not yet whole is left out."""
    for line in lines:
        if not line.endswith("\n"):
            return
        event = json.loads(line)
        # A watch is logged when it begins and again when it ends.
        if (event["verb"] == "watch") != (event["stage"] == "ResponseStarted") or "objectRef" not in event:
            continue
        place = event["objectRef"]
        yield Asked(
            user=event["user"]["username"],
            verb=event["verb"],
            resource="/".join(part for part in (place.get("resource", ""), place.get("subresource", "")) if part),
            namespace=place.get("namespace", ""),
            name=place.get("name", ""),
            code=event.get("responseStatus", {}).get("code", 0),
            received=_seconds(event["requestReceivedTimestamp"]),
            answered=_seconds(event["stageTimestamp"]),
        )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def counts(requests: Iterable[Asked]) -> dict[str, int]:
    """Return how often each verb was asked of each resource, the most frequent first."""
    return dict(Counter(f"{each.verb} {each.resource}" for each in requests).most_common())


def created(requests: Iterable[Asked], resource: str) -> dict[tuple[str, str], float]:
    """Return when each object of `resource` was first created, by namespace and name."""
    times: dict[tuple[str, str], float] = {}
    for each in requests:
        if (each.verb, each.resource, each.code) == ("create", resource, 201):
            times.setdefault((each.namespace, each.name), each.answered)
    return times


def delays(
    parents: Mapping[tuple[str, str], float], children: Mapping[tuple[str, str], float], parent_of: Callable[[str], str]
) -> list[float]:
    """Return for each parent that has a child the seconds between them, sorted; `parent_of` gives the parent's name."""
    first: dict[tuple[str, str], float] = {}
    for (namespace, name), time in children.items():
        key = namespace, parent_of(name)
        first[key] = min(time, first.get(key, math.inf))
    return sorted(first[key] - time for key, time in parents.items() if key in first)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted values that `share` of them do not exceed; nan of none."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan
