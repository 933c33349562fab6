"""Import contracts whose names speak of all or none name all that is on disk, so that nothing new is outside the rules by accident."""

import re
import tomllib
from typing import Any

import pytest

from tests.repository import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
CONTRACTS: dict[str, dict[str, Any]] = {each["name"]: each for each in PROJECT["tool"]["importlinter"]["contracts"]}
OF_ALL = re.compile(r"\b(alone|no other|no subcommand|nobody|nothing else|only)\b")
WITH_RAY = {
    "trainer.__main__",
    "trainer.driver",
    "trainer.rank.preload",
    "trainer.rank.processgroup",
    "trainer.rank.worker",
    "trainer.reporting.progress",
}
"""What starts Ray, runs in its workers, or talks to its actors."""
IMPORTED_AS = {"pyyaml": "yaml", "prometheus-client": "prometheus_client"}


def modules_in(folder: str) -> set[str]:
    """Modules and packages right under a package, without the package itself."""
    found = [path for path in (REPOSITORY / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return {f"{folder.replace('/', '.')}.{path.stem}" for path in found if path.stem not in ("__init__", "__main__")}


def third_party() -> set[str]:
    """What the project's own packages install beside themselves, as it is imported."""
    declared = PROJECT["project"]["dependencies"] + [
        line for extra in ("controller", "trainer") for line in PROJECT["project"]["optional-dependencies"][extra]
    ]
    names = {re.split(r"[\[><=~!; ]", line)[0] for line in declared}
    return {IMPORTED_AS.get(name, name) for name in names}


ROOMS, PROGRAMS = modules_in("trainer"), {"controller", "trainer", "finetune.cli"}
FORBIDDEN = {
    "the API needs pydantic and what all programs share, nothing else": {"controller", "trainer", "finetune.cli", *third_party()}
    - {"pydantic"},
    "what all programs share needs the standard library alone": {"controller", "trainer", "finetune.api", "finetune.cli", *third_party()},
    "places need the standard library alone": third_party(),
    "the program that copies a log needs the standard library alone: there is one for each rank": third_party(),
    "storage keeps what it is given and knows no other room": ROOMS - {"trainer.storage"},
    "an objective knows samples alone": ROOMS - {"trainer.objectives"},
    "job files and local runs know no subcommand": modules_in("finetune/cli") - {"finetune.cli.jobfile", "finetune.cli.local"},
}
"""What a contract must forbid, by its name."""
OTHERS = {
    "the driver starts the ranks and nobody knows the driver",
    "only the driver, the worker, its preload, its process group and progress import ray",
    "only the reconciler observes, acts and asks again",
    "which task it is, only the task's own file knows",
}
"""Contracts that list who is held to them, or what is protected; each has a test of its own below."""


def test_every_contract_that_speaks_of_all_or_none_is_compared_with_what_is_on_disk() -> None:
    assert {name for name in CONTRACTS if OF_ALL.search(name)} == FORBIDDEN.keys() | OTHERS


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_knows_nothing_else_is_forbidden_everything_else(name: str) -> None:
    assert FORBIDDEN[name] - set(CONTRACTS[name]["forbidden_modules"]) == set()


def test_every_room_but_the_driver_itself_is_kept_from_knowing_the_driver() -> None:
    [held] = [each["source_modules"] for name, each in CONTRACTS.items() if "nobody knows the driver" in name]
    assert set(held) == ROOMS - {"trainer.driver"}


def test_all_of_the_trainer_but_what_talks_to_ray_is_kept_from_importing_it() -> None:
    covered = set(CONTRACTS["only the driver, the worker, its preload, its process group and progress import ray"]["source_modules"])
    for module in ROOMS - WITH_RAY - covered:
        parts = modules_in(module.replace(".", "/"))
        assert parts, f"{module} is under no rule"
        assert parts - WITH_RAY <= covered


def test_whatever_talks_to_the_server_about_jobs_is_the_reconcilers_alone() -> None:
    contract = CONTRACTS["only the reconciler observes, acts and asks again"]
    asking = {
        f"controller.job.{path.stem}"
        for path in (REPOSITORY / "controller/job").glob("*.py")
        if re.search(r"\bawait (self\._client|reader)\.", path.read_text()) and path.stem != "reconciler"
    }
    assert asking - set(contract["protected_modules"]) == {"controller.job.supports"}  # a part of observing
