"""kubectl as a user calls it, for one namespace of the test cluster."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.binaries import kubectl as kubectl_program

JOB_LABEL = "finetune.dev/job"


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl against one cluster and namespace; a refusal is an AssertionError with kubectl's own words."""

    kubeconfig: Path
    namespace: str

    def command(self, *arguments: str) -> list[str]:
        return [str(kubectl_program()), "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments]

    def run(self, *arguments: str, timeout_seconds: float = 60.0, stdin: str | None = None) -> str:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, input=stdin, timeout=timeout_seconds, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.run("get", *arguments, "--output", "json"))

    def names(self, *arguments: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.get(*arguments)["items"]]

    def job(self, name: str) -> dict[str, Any]:
        return self.get("finetunejob", name)

    def status(self, name: str) -> dict[str, Any]:
        return self.job(name).get("status", {})

    def pods(self, name: str, role: str, attempt: int | None = None) -> list[dict[str, Any]]:
        selector = f"{JOB_LABEL}={name},finetune.dev/role={role}" + (f",finetune.dev/attempt={attempt}" if attempt else "")
        return self.get("pods", "--selector", selector)["items"]


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition of a status, empty when it is not there."""
    return next((found for found in status.get("conditions", []) if found["type"] == kind), {})


def wait_until(what: str, holds: Callable[[], Any], timeout_seconds: float, pause_seconds: float = 1.0) -> Any:
    """Return the first true value of `holds`; fail with `what` when time runs out."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < deadline, f"after {timeout_seconds:.0f} s: {what}"
        time.sleep(pause_seconds)
