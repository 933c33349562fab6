"""A run's folder with both forms of its model, of which tests copy what they change."""

import shutil
from pathlib import Path

import pytest

from finetune.api.sections import Export
from tests.trainer.fixtures.runs import run_in
from tests.trainer.fixtures.using import using
from trainer.export import ExportOptions, export_run
from trainer.using.loading import Loaded

COLUMNS = {"prompt": "message", "completion": "intent"}


@pytest.fixture(scope="session")
def trained(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chat run: `run`, and its base model beside it: `base`."""
    folder = tmp_path_factory.mktemp("trained")
    base = Path(shutil.copytree(saved_model, folder / "base"))
    data = {"train": [{"path": "/rows.csv", "columns": COLUMNS}]}
    run_in(folder / "run", base, {1: 9.0}, data=data)
    export_run(ExportOptions(folder / "run", (Export.ADAPTER, Export.MERGED), folder / "run" / "model"), lambda _: None)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session")
def loaded(trained: Path) -> Loaded:
    """The run's adapter on its base."""
    return using(trained, base=True)
