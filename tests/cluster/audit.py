"""The API server's own record of who wrote what, and when: what programs say of themselves proves nothing.

Pass `FLAGS` and `FILES` to `start_control_plane`. Requests of other accounts than `ACCOUNT`, and reads, are not recorded, so that the
record costs nothing elsewhere. Test: tests/integration/test_takeover.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "system:serviceaccount:finetune-system:finetune-operator"
LOG, POLICY = "audit.jsonl", "audit-policy.json"
FLAGS = (f"--audit-policy-file={{directory}}/{POLICY}", f"--audit-log-path={{directory}}/{LOG}")
RULES = [
    {"level": "Metadata", "users": [ACCOUNT], "verbs": ["create", "update", "patch", "delete"]},
    {"level": "None"},
]
FILES = {POLICY: json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": RULES})}


@dataclass(frozen=True, order=True)
class Write:
    """A write that the server has done. `at` sorts as text."""

    at: str
    agent: str
    resource: str
    verb: str = ""
    namespace: str = ""
    name: str = ""


def writes(directory: Path) -> list[Write]:
    """Return the successful writes of the account, by the time at which the server received them."""
    found = []
    for line in (directory / LOG).read_text().splitlines(keepends=True):
        event = json.loads(line) if line.endswith("\n") else {}
        if 200 <= (event.get("responseStatus") or {}).get("code", 0) < 300 and "dryRun" not in event["requestURI"]:
            of = event["objectRef"]
            place = (of.get("namespace", ""), of.get("name", ""))
            found.append(Write(event["requestReceivedTimestamp"], event["userAgent"], of["resource"], event["verb"], *place))
    return sorted(found)
