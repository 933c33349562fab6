"""Installs, upgrades, tests and removes the project's chart with the images that were built here."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.binaries import binary
from tests.cluster.images import CONTROLLER_IMAGE, TRAINER_IMAGE
from tests.repository import REPOSITORY

CHART = REPOSITORY / "charts" / "finetune-operator"
RELEASE = "finetune-operator"
NAMESPACE = "finetune-system"
WAIT = "180s"


class HelmError(RuntimeError):
    """helm refused; the message is its own."""


def install(kubeconfig: Path, values: Mapping[str, str] | None = None) -> None:
    """Install the chart, or upgrade it, and wait until the controller is available."""
    arguments = [
        "upgrade",
        "--install",
        RELEASE,
        str(CHART),
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        WAIT,
    ]
    for key, value in {**_image_values(), **(values or {})}.items():
        arguments += ["--set-string", f"{key}={value}"]
    helm(kubeconfig, *arguments)


def test(kubeconfig: Path) -> str:
    """Run the chart's own test; its pod asks the controller whether it is ready."""
    return helm(kubeconfig, "test", RELEASE, "--namespace", NAMESPACE, "--timeout", WAIT)


def uninstall(kubeconfig: Path) -> None:
    """Remove the release and wait until its objects are gone; the definition and the jobs stay."""
    helm(kubeconfig, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", WAIT)


def helm(kubeconfig: Path, *arguments: str) -> str:
    done = subprocess.run([str(binary("helm")), "--kubeconfig", str(kubeconfig), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HelmError(f"`helm {' '.join(arguments[:2])} …` failed:\n{done.stderr.strip()}")
    return done.stdout


def _image_values() -> dict[str, str]:
    values: dict[str, str] = {}
    for prefix, image in {"image": CONTROLLER_IMAGE, "trainer.image": TRAINER_IMAGE}.items():
        repository, _, tag = image.rpartition(":")
        values |= {f"{prefix}.repository": repository, f"{prefix}.tag": tag, f"{prefix}.pullPolicy": "IfNotPresent"}
    return values
