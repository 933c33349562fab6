"""The memory that is left, of the machine and of a container."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from finetune.system import memory
from finetune.system.memory import available_bytes, begin_peak, freed_since_peak_bytes, peak_bytes


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param("max\n", 2048 * 1024, id="no limit"),
        pytest.param("1000000\n", 1000000 - 900000 + 5000, id="a limit, and files that the kernel gives back"),
        pytest.param("9000000000\n", 2048 * 1024, id="a limit above what the machine has"),
        pytest.param("800000\n", 0, id="a limit that was lowered"),
    ],
)
def test_the_smaller_of_machine_and_container_counts(tmp_path: Path, limit: str, expected: int) -> None:
    proc = write(tmp_path / "proc", meminfo="MemTotal: 9000 kB\nMemAvailable:    2048 kB\n")
    stat = "anon 1\ninactive_file 5000\n"
    assert available_bytes(proc, write(tmp_path / "cgroup", memory_max=limit, memory_current="900000\n", memory_stat=stat)) == expected


def test_a_machine_without_control_groups_has_what_it_has_and_another_system_is_unknown(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", meminfo="MemAvailable: 10 kB\n")
    assert available_bytes(proc, tmp_path / "none") == 10 * 1024
    assert available_bytes(tmp_path / "none", tmp_path / "none") is None
    assert freed_since_peak_bytes(tmp_path / "none") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_was_freed_counts_from_when_it_is_asked_for_and_the_peak_before_is_still_known() -> None:
    taken = bytearray(64 * 2**20)
    before = freed_since_peak_bytes()
    del taken
    freed, peak = freed_since_peak_bytes(), peak_bytes()
    assert freed >= before + 60 * 2**20
    begin_peak()
    assert freed_since_peak_bytes() <= freed - 60 * 2**20
    assert peak_bytes() >= peak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_where_the_peak_cannot_be_counted_again_it_stays(tmp_path: Path) -> None:
    taken = bytearray(64 * 2**20)
    del taken
    begin_peak(tmp_path / "none")
    assert freed_since_peak_bytes() >= 60 * 2**20


def test_the_peak_is_counted_in_bytes_whatever_the_unit_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrusage", lambda _: SimpleNamespace(ru_maxrss=2**20))
    monkeypatch.setattr(memory, "_before", [])
    assert (peak_bytes("linux"), peak_bytes("darwin")) == (2**30, 2**20)
