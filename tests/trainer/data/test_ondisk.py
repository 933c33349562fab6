"""Files that cannot be mapped are read as well, and rows not all at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest

from trainer.data.ondisk import KEPT_BATCHES, Batches, array_in, saved_array


@pytest.fixture(params=[True, False], ids=["mapped", "not mapped"])
def mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system maps files."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no such device")

    if not request.param:
        monkeypatch.setattr(pyarrow, "memory_map", refuse)
        monkeypatch.setattr(np, "memmap", refuse)
    return bool(request.param)


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_arrays_come_back(tmp_path: Path, count: int) -> None:
    given = np.arange(count) * 3
    given.tofile(tmp_path / "a.bin")
    np.save(tmp_path / "a.npy", given)
    assert array_in(tmp_path / "a.bin", given.dtype, count).tolist() == given.tolist()
    assert saved_array(tmp_path / "a.npy").tolist() == given.tolist()


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    for read in (saved_array, lambda path: array_in(path, np.dtype("<i8"), 1)):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "a")


def test_batches_are_read_one_by_one_and_few_are_kept(tmp_path: Path, mapped: bool) -> None:
    size, count = 1 << 16, 5 * KEPT_BATCHES
    schema = pyarrow.schema([("content", pyarrow.large_binary())])
    with pyarrow.OSFile(str(tmp_path / "rows"), "wb") as file, pyarrow.ipc.new_file(file, schema) as writer:
        for number in range(count):
            writer.write_batch(pyarrow.record_batch([[bytes([number]) * size]], schema=schema))
    batches, before, most = Batches(tmp_path / "rows"), pyarrow.total_allocated_bytes(), 0
    for number in [*range(count), 0, count - 1, *range(3)]:
        assert batches[number].column(0)[0].as_py() == bytes([number]) * size
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert most < (size if mapped else (KEPT_BATCHES + 2) * size)
