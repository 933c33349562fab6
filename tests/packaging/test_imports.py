"""The import contracts name every room of the trainer, so that a new one is not outside the rules by accident."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
WITH_RAY = {"trainer.__main__", "trainer.driver", "trainer.rank.worker", "trainer.reporting.progress"}
"""What starts Ray, runs in its workers, or talks to its actors."""


def modules_in(folder: Path) -> set[str]:
    """Modules and packages right under a folder, without the package itself."""
    found = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return {f"{folder.relative_to(ROOT).as_posix().replace('/', '.')}.{path.stem}" for path in found if path.stem != "__init__"}


def test_all_of_the_trainer_but_what_talks_to_ray_is_kept_from_importing_it() -> None:
    [contract] = [each for each in CONTRACTS if each["name"] == "only the driver, the worker and progress import ray"]
    covered = set(contract["source_modules"])
    for module in modules_in(ROOT / "trainer") - WITH_RAY - covered:
        parts = modules_in(ROOT / module.replace(".", "/"))
        assert parts, f"{module} is under no rule"
        assert parts - WITH_RAY <= covered
