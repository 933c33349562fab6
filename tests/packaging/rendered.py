"""Renders the chart and the plain manifests with the real programs, for tests that look at what comes out."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import binary, kubectl
from tests.repository import REPOSITORY

CHART = REPOSITORY / "charts" / "finetune-operator"
NAMESPACE = "finetune-system"
IMAGES = {
    "image.repository": "registry.example.com/finetune/controller",
    "trainer.image.repository": "registry.example.com/finetune/trainer",
}
CI = sorted((CHART / "ci").glob("*-values.yaml"))
"""Files of values that the chart shows to its users."""
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Objects = dict[tuple[str, str], dict[str, Any]]


def helm_template(**values: str) -> subprocess.CompletedProcess[str]:
    """Run `helm template`; a double underscore in a keyword stands for the dot of a value's path."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    return run_template(*(part for name, value in given.items() for part in ("--set", f"{name}={value}")), "--skip-tests")


def run_template(*arguments: str, namespace: str = NAMESPACE) -> subprocess.CompletedProcess[str]:
    command = [str(binary("helm")), "template", "finetune-operator", str(CHART), "--namespace", namespace, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def chart(**values: str) -> Objects:
    """The chart's objects by kind and name, with images named."""
    images = {name.replace(".", "__"): value for name, value in IMAGES.items()}
    done = helm_template(**{**images, **values})
    assert done.returncode == 0, done.stderr
    return by_name(done.stdout)


def chart_with(values: Path, *arguments: str) -> list[dict[str, Any]]:
    """All objects with this file of values, those of `helm test` too."""
    done = run_template("--values", str(values), *arguments)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.load_all(done.stdout, Loader=FAST) if item]


def kustomization() -> Objects:
    """The objects of `kubectl apply -k manifests`."""
    return by_name(subprocess.run([kubectl(), "kustomize", REPOSITORY / "manifests"], capture_output=True, text=True, check=True).stdout)


def by_name(text: str) -> Objects:
    return {(item["kind"], item["metadata"]["name"]): item for item in yaml.load_all(text, Loader=FAST) if item}
