"""One version everywhere: an image of another one than the chart's ignores settings that it does not know, such as limits of jobs."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.repository import REPOSITORY

VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
CHART = yaml.safe_load((REPOSITORY / "charts/finetune-operator/Chart.yaml").read_text())
OURS = re.compile(r"(?:/(?:controller|trainer):|image\.tag=|app\.kubernetes\.io/version: )(\d+\.\d+\.\d+)\b")
FILES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "manifests").rglob("*.yaml"))]


def test_the_chart_installs_images_of_this_version() -> None:
    """Chart and program have one version, so that a chart with a new environment never runs an image of an earlier one by default."""
    assert (CHART["appVersion"], CHART["version"]) == (VERSION, VERSION)


@pytest.mark.parametrize("path", [path for path in FILES if OURS.search(path.read_text())], ids=lambda path: path.name)
def test_commands_and_manifests_name_images_of_this_version(path: Path) -> None:
    assert set(OURS.findall(path.read_text())) == {VERSION}
