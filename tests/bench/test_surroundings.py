from pathlib import Path

from bench.surroundings import machine
from tests.repository import REPOSITORY


def test_figures_say_machine_and_versions() -> None:
    found = machine(REPOSITORY)
    assert found["cores"] >= 1
    assert found["processor"]
    assert found["memoryGiB"] > 0
    assert {"python", "torch", "transformers"} <= found["versions"].keys()


def test_a_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    assert machine(tmp_path)["commit"] is None
