"""Apply the quickstart under a name of its own, and watch it as a user would until it ends."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.conftest import SAMPLE
from tests.e2e.kubectl import Kubectl, condition


@dataclass
class Observed:
    """What was seen of one run while it went on."""

    seconds: float = 0.0
    table_lines: list[str] = field(default_factory=list)
    pods_of_attempts: list[tuple[set[int], int]] = field(default_factory=list)
    """(attempts that have pods, current attempt) at each look."""
    final: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> dict[str, Any]:
        return self.final["status"]


def quickstart_documents(name: str, change: Callable[[dict[str, Any]], None] | None = None) -> str:
    """Return the sample with its job renamed and changed; unchanged text when neither is asked for."""
    if name == "quickstart" and change is None:
        return SAMPLE.read_text()
    documents = list(yaml.safe_load_all(SAMPLE.read_text()))
    job = next(document for document in documents if document["kind"] == "FineTuneJob")
    job["metadata"]["name"] = name
    if change is not None:
        change(job)
    return yaml.safe_dump_all(documents, sort_keys=False)


def watch(kubectl: Kubectl, name: str, artifacts: Path, look: Callable[[dict[str, Any]], None], timeout_seconds: float) -> Observed:
    """Follow a job until it has succeeded or failed; `look` is called with each status. Leaves table and YAML in `artifacts`."""
    observed, started = Observed(), time.monotonic()
    with (artifacts / f"{name}-watch.txt").open("w") as table:
        watcher = subprocess.Popen(kubectl.command("get", "finetunejob", name, "--watch"), stdout=table, stderr=subprocess.STDOUT)
        try:
            while True:
                observed.final = kubectl.job(name)
                status = observed.final.get("status", {})
                look(status)
                note_pods(kubectl, name, status, observed)
                if any(condition(status, kind).get("status") == "True" for kind in ("Succeeded", "Failed")):
                    break
                assert time.monotonic() - started < timeout_seconds, f"{name} did not end within {timeout_seconds:.0f} s: {status}"
                time.sleep(2)
        finally:
            watcher.terminate()
            watcher.wait()
            save_job(kubectl, name, artifacts)
    observed.seconds = time.monotonic() - started
    observed.table_lines = (artifacts / f"{name}-watch.txt").read_text().splitlines()
    return observed


def save_job(kubectl: Kubectl, name: str, artifacts: Path) -> None:
    """Leave the job behind as it stands now: once it is deleted, nobody can ask for its status."""
    (artifacts / f"{name}.yaml").write_text(kubectl.run("get", "finetunejob", name, "--output", "yaml"))


def note_pods(kubectl: Kubectl, name: str, status: dict[str, Any], observed: Observed) -> None:
    pods = kubectl.get("pods", "--selector", f"finetune.dev/job={name}")["items"]
    numbers = {int(pod["metadata"]["labels"]["finetune.dev/attempt"]) for pod in pods if pod["status"]["phase"] in ("Pending", "Running")}
    attempts = status.get("attempts") or [{"number": 0}]
    observed.pods_of_attempts.append((numbers, attempts[-1]["number"]))


def volume_folder(kubectl: Kubectl, status: dict[str, Any]) -> Path:
    """Return the job's folder on the host side of its claim's volume."""
    claim, folder = status["output"]["uri"].removeprefix("pvc://").split("/", 1)
    volume = kubectl.get("persistentvolumeclaim", claim)["spec"]["volumeName"]
    return Path(kubectl.get("persistentvolume", volume)["spec"]["hostPath"]["path"]) / folder
