"""The import contracts name every module of the trainer, so that a new one is not outside the rules by accident."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
MODULES = {f"trainer.{path.stem}" for path in (ROOT / "trainer").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
DRIVERS = {"trainer.__main__", "trainer.launch", "trainer.worker", "trainer.progress", "trainer.raystart"}
"""What starts Ray, runs in its workers, or talks to its actors."""


@pytest.mark.parametrize(
    ("contract", "side", "allowed"),
    [
        ("of the trainer, the controller sees only its configuration contract", "forbidden_modules", {"trainer.config"}),
        ("only launch, raystart, worker and progress import ray", "source_modules", DRIVERS),
    ],
)
def test_a_contract_covers_all_of_the_trainer_but_what_it_allows(contract: str, side: str, allowed: set[str]) -> None:
    [found] = [each for each in CONTRACTS if each["name"] == contract]
    assert set(found[side]) == MODULES - {"trainer.__init__"} - allowed
