"""Whoever sets the project up gets the versions that it is tested with, from whatever index is theirs."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from controller.settings import Settings
from tests.repository import REPOSITORY
from trainer.model.package import PACKAGES, Package

CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text()
PINS = [Requirement(line) for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
OWN_NAME = "finetune-operator"


def pins_for_this_python() -> dict[str, str]:
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in PINS if pin.marker is None or pin.marker.evaluate()}


def requirements(*without: str) -> list[Requirement]:
    extras = [lines for name, lines in PROJECT["optional-dependencies"].items() if name not in without]
    listed = [*PROJECT["dependencies"], *(line for lines in extras for line in lines)]
    return [requirement for requirement in map(Requirement, listed) if requirement.name != OWN_NAME]


def test_constraints_name_no_index_and_no_host() -> None:
    assert not re.search(r"://|--index|--find-links|@", CONSTRAINTS)


def test_every_constraint_is_one_exact_version() -> None:
    loose = [str(pin) for pin in PINS if not re.fullmatch(r"==[^=,*]+", str(pin.specifier))]
    assert loose == []


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_is_pinned_at_a_version_that_it_allows(requirement: Requirement) -> None:
    pinned = pins_for_this_python()[canonicalize_name(requirement.name)].removeprefix("==")
    assert requirement.specifier.contains(pinned)


@pytest.mark.parametrize("package", PACKAGES.values(), ids=lambda package: package.distribution)
def test_models_in_packages_are_pinned_and_installed_without_their_dependencies(package: Package) -> None:
    """By set-up and image; `make constraints` keeps their pins, which no extra asks for."""
    name, scripts = package.distribution, REPOSITORY / "scripts"

    assert name in pins_for_this_python()
    assert any("--no-deps" in line and name in line for line in (scripts / "setup.sh").read_text().splitlines())
    assert re.search(rf'^pinned_besides=".*\b{name}\b.*"$', (scripts / "pin.sh").read_text(), re.MULTILINE)
    assert re.search(rf"grep -E '\^\(.*\b{name}\b.*\)==' .*constraints\.txt >> trainer\.txt", (REPOSITORY / "Dockerfile").read_text())
    assert name not in [requirement.name for requirement in requirements()], "an extra would install what the package depends on"


def test_tests_run_on_the_pinned_versions() -> None:
    differing = {}
    for requirement in requirements("qlora"):  # the only extra that is not for development
        pinned = pins_for_this_python()[canonicalize_name(requirement.name)].removeprefix("==")
        try:
            installed = version(requirement.name).partition("+")[0]
        except PackageNotFoundError:
            installed = "missing"
        if installed != pinned:
            differing[requirement.name] = f"{installed} is installed, {pinned} is pinned"
    assert differing == {}, "run `make setup`"


def test_the_controller_tells_kuberay_the_version_of_ray_that_is_in_the_trainers_image() -> None:
    assert pins_for_this_python()["ray"] == f"=={Settings(trainer_image='trainer').ray_version}"


def test_every_extra_brings_packages_of_its_own() -> None:
    extras = PROJECT["optional-dependencies"]
    empty = [name for name, packages in extras.items() if all(package.startswith(f"{OWN_NAME}[") for package in packages)]
    assert empty == [], "it would promise what another extra does already"
