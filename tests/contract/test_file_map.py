"""docs/files.md names every room of the code, and nothing that is not there."""

import re

import pytest

from tests.repository import REPOSITORY

ROWS = re.findall(r"^\| `([^`]+)` \| (.*) \|$", (REPOSITORY / "docs/files.md").read_text(), flags=re.MULTILINE)
PACKAGES = ("finetune", "controller", "trainer")


def packages() -> set[str]:
    folders = {path.parent for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py") if path.stat().st_size}
    folders = {folder for folder in folders if folder.parent != REPOSITORY or folder.name != "finetune"}
    return {f"{folder.relative_to(REPOSITORY)}/" for folder in folders}


def test_every_package_has_one_line_and_every_line_a_package() -> None:
    named = [path for path, _ in ROWS if path.split("/")[0] in PACKAGES]
    assert sorted(named) == sorted(packages())


def test_every_folder_at_the_top_is_named() -> None:
    ours = {path.name for path in REPOSITORY.iterdir() if path.is_dir()}
    known = {path.split("/")[0] for path, _ in ROWS} | set(PACKAGES)
    left_out = {"runs", "build", "dist", "__pycache__", "shared"}
    assert {name for name in ours if not name.startswith(".") and not name.endswith(".egg-info")} - left_out <= known


@pytest.mark.parametrize(("path", "text"), ROWS, ids=[path for path, _ in ROWS])
def test_what_a_line_names_exists(path: str, text: str) -> None:
    place = REPOSITORY / path
    assert place.exists()
    files = re.findall(r"`([\w/.-]+(?:/|\.\w+))`", text)
    missing = [name for name in files if not (REPOSITORY / name).exists() and not (place / name).exists()]
    assert missing == []
