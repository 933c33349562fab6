"""The README tells the truth: its job is the sample, and every file that it or a docstring names is there."""

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
TEST_PATH = re.compile(r"\btests/[\w/]+(?:\.py|/)")
TEST_FILE = re.compile(r"(?<![\w/])test_\w+\.py\b")
TEST_FILES = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]
MODULES = sorted(path for folder in ("controller", "trainer", "bench") for path in (REPOSITORY / folder).rglob("*.py"))


def test_the_job_explained_is_the_sample() -> None:
    block = next(text for text in re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL) if "kind: FineTuneJob" in text)
    sample = list(yaml.safe_load_all((REPOSITORY / "manifests/samples/quickstart.yaml").read_text()))
    assert yaml.safe_load(block) == next(document for document in sample if document["kind"] == "FineTuneJob")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_of_the_readme_leads_to_a_file(link: str) -> None:
    assert (REPOSITORY / link).exists()


@pytest.mark.parametrize("path", sorted(set(TEST_PATH.findall(README))))
def test_a_test_that_the_readme_names_exists(path: str) -> None:
    assert (REPOSITORY / path).exists()


@pytest.mark.parametrize("name", sorted(set(TEST_FILE.findall(README))))
def test_a_test_that_the_readme_names_without_its_folder_can_be_found(name: str) -> None:
    assert TEST_FILES.count(name) == 1, f"{name} is the name of {TEST_FILES.count(name)} files below tests/: give its path"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_tests_that_a_module_names_exist(module: Path) -> None:
    missing = [path for path in TEST_PATH.findall(module.read_text()) if not (REPOSITORY / path).exists()]
    assert missing == []


def test_every_target_of_the_makefile_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", README, flags=re.MULTILINE))
    assert {"run", "test"} <= named <= targets
