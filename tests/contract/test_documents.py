"""What README, CONTRIBUTING, CHANGELOG and docs/ name exists: files, tests, make targets, programs; and what modules name."""

import re
from pathlib import Path

import pytest

from finetune.cli.command import COMMANDS
from tests.repository import REPOSITORY

FILES = [*(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
DOCUMENTS = {str(path.relative_to(REPOSITORY)): path.read_text() for path in FILES}
WITHOUT_CODE = {name: re.sub(r"`[^`\n]*`", "", text) for name, text in DOCUMENTS.items()}
EVERYTHING = "\n".join(DOCUMENTS.values())
TEST_PATH = re.compile(r"\btests/[\w/]+(?:\.py|/)")
TEST_FILE = re.compile(r"(?<![\w/])test_\w+\.py\b")
TEST_FILES = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]
MODULES = sorted(path for folder in ("finetune", "controller", "trainer", "bench") for path in (REPOSITORY / folder).rglob("*.py"))
LINKS = sorted({(name, link) for name, text in WITHOUT_CODE.items() for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)})


@pytest.mark.parametrize(("document", "link"), LINKS)
def test_a_link_leads_to_a_file(document: str, link: str) -> None:
    assert ((REPOSITORY / document).parent / link).exists()


@pytest.mark.parametrize("path", sorted(set(TEST_PATH.findall(EVERYTHING))))
def test_a_test_that_a_document_names_exists(path: str) -> None:
    assert (REPOSITORY / path).exists()


@pytest.mark.parametrize("name", sorted(set(TEST_FILE.findall(EVERYTHING))))
def test_a_test_that_a_document_names_without_its_folder_can_be_found(name: str) -> None:
    assert TEST_FILES.count(name) == 1, f"{name} is the name of {TEST_FILES.count(name)} files below tests/: give its path"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_tests_that_a_module_names_exist(module: Path) -> None:
    missing = [path for path in TEST_PATH.findall(module.read_text()) if not (REPOSITORY / path).exists()]
    assert missing == []


def test_every_target_of_the_makefile_that_a_document_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", EVERYTHING, flags=re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_every_command_that_a_document_names_is_there() -> None:
    named = set(re.findall(r"(?:`|^|/)finetune ([a-z]+)\b", EVERYTHING, flags=re.MULTILINE))
    assert {"run", "check"} <= named <= set(COMMANDS)


def test_every_python_program_that_a_document_names_is_there() -> None:
    named = set(re.findall(r"python -m ([a-z_.]+)", EVERYTHING)) - {"pytest"}
    paths = {name: REPOSITORY / name.replace(".", "/") for name in named}
    assert [name for name, path in paths.items() if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists())] == []
