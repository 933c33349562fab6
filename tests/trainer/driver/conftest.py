"""What tests share that start a Ray of the trainer."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for RAY_TMPDIR whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ft-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
