"""A machine that is not as it should be is made fit for a run, or said to be unfit, before anything starts."""

import os
from pathlib import Path

import pytest

from finetune.api.errors import BadInputError
from finetune.cli.local import surroundings as module
from finetune.cli.local.surroundings import SOCKET_PATH_MAX_BYTES, surroundings


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is odd: the tests change one thing each."""
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_ADDRESS", "HF_HOME", "FINETUNE_CACHE", "NO_PROXY", "no_proxy", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def longest_socket(folder: str) -> int:
    return len(f"{folder}/ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store")


def test_a_run_starts_in_an_empty_folder_that_goes_with_it() -> None:
    with surroundings() as place:
        assert list(place.start_folder.iterdir()) == []
        assert {package.name for package in place.packages.iterdir()} == {"finetune", "trainer"}
        assert (place.packages / "finetune/system/interpreter.py").is_file()
        assert place.warnings == ()
        assert longest_socket(place.environment["RAY_TMPDIR"]) <= SOCKET_PATH_MAX_BYTES
    assert not place.folder.exists()


def test_the_users_own_choice_of_a_short_folder_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    with surroundings() as place:
        assert place.folder.parent == Path("/var/tmp")
        assert place.warnings == ()


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_is_too_long_for_sockets_is_gone_around_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    long = tmp_path / ("temporary-" * 9)
    long.mkdir()
    monkeypatch.setenv(name, str(long))
    with surroundings() as place:
        assert longest_socket(place.environment["RAY_TMPDIR"]) <= SOCKET_PATH_MAX_BYTES
        [warning] = place.warnings
        assert warning.startswith(f"{name}={long} is too long for Ray's sockets")
        assert warning.endswith("; this run keeps its temporary files in /tmp")
        assert place.environment["TMPDIR"] == "/tmp", "multiprocessing has its sockets there"


@pytest.mark.parametrize(("folder", "problem"), [("/none/at/all", "does not exist"), ("/proc", "cannot be written"), ("tmp", "absolute")])
def test_a_folder_that_cannot_be_used_is_gone_around_and_said(monkeypatch: pytest.MonkeyPatch, folder: str, problem: str) -> None:
    monkeypatch.setenv("TMPDIR", folder)
    with surroundings() as place:
        assert place.environment["TMPDIR"] == "/tmp"
        [warning] = place.warnings
        assert warning.startswith(f"TMPDIR={folder} ")
        assert problem in warning


def test_where_there_is_no_folder_for_sockets_at_all_it_is_said_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FALLBACKS", ("/proc",))
    monkeypatch.setenv("TMPDIR", "/none")
    with pytest.raises(BadInputError, match=r"^TMPDIR: .*TMPDIR=/none does not exist; /proc cannot be written .*; set TMPDIR to a folder"):
        surroundings().__enter__()


@pytest.mark.parametrize("given", ["/none/home", "/proc", "home"], ids=["missing", "takes no files", "relative"])
def test_a_home_that_cannot_be_written_is_replaced_for_this_run(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HOME", given)
    with surroundings() as place:
        home = Path(place.environment["HOME"])
        assert home.is_dir()
        assert place.folder in home.parents
        [warning] = place.warnings
        assert warning.startswith(f"HOME={given} cannot be written")
        assert "set FINETUNE_CACHE and HF_HOME" in warning


def test_a_home_that_nobody_names_is_looked_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(module.os.path, "expanduser", lambda _: str(tmp_path / "home"))
    with surroundings() as place:
        assert place.environment["HOME"] == str(tmp_path / "home")
        assert place.warnings == ()


def test_models_are_still_read_from_the_cache_of_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home/.cache/huggingface").mkdir(parents=True)
    monkeypatch.setattr(module, "_writable", lambda folder: False)
    with surroundings() as place:
        assert place.environment["HF_HOME"] == str(tmp_path / "home/.cache/huggingface")
        assert place.environment["HF_DATASETS_CACHE"].startswith(str(place.folder))


def test_a_cache_that_cannot_be_written_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home/.cache").mkdir()
    monkeypatch.setattr(module, "_writable", lambda folder: folder.name != ".cache")
    with surroundings() as place:
        assert place.environment["HOME"] == str(tmp_path / "home")
        assert place.environment["FINETUNE_CACHE"].startswith(str(place.folder))
        assert place.environment["HF_HOME"].startswith(str(place.folder))
        assert [warning.partition(" ")[0] for warning in place.warnings] == [str(tmp_path / "home/.cache")]


def test_another_ray_and_a_proxy_do_not_come_between_the_processes_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "intern.example,localhost")
    with surroundings() as place:
        assert "RAY_ADDRESS" not in place.environment
        assert place.environment["http_proxy"] == "http://proxy:3128"
        assert place.environment["no_proxy"] == place.environment["NO_PROXY"] == "intern.example,localhost,127.0.0.1,::1"


def test_the_trainers_interpreter_depends_on_neither_folder_nor_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f".:/opt/lib:{os.pathsep}sub")
    with surroundings() as place:
        assert place.environment["PYTHONPATH"] == "/opt/lib"
        assert place.environment["PYTHONUTF8"] == place.environment["PYTHONSAFEPATH"] == "1"


@pytest.mark.parametrize(
    ("free", "expected"), [(10_000_000, "make room"), (500_000_000, "500 MB free; checkpoints and the model may need more"), (10**12, None)]
)
def test_a_disk_that_is_nearly_full_is_said_before_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, expected: str | None
) -> None:
    disk_usage = module.shutil.disk_usage
    output = tmp_path / "runs" / "new"
    monkeypatch.setattr(
        module.shutil, "disk_usage", lambda path: disk_usage(path)._replace(free=free) if path == tmp_path else disk_usage(path)
    )
    if expected == "make room":
        with pytest.raises(BadInputError, match=r"^--output: .*/runs/new is on a disk with 10 MB free; make room"):
            surroundings(output).__enter__()
        return
    with surroundings(output) as place:
        assert [warning.partition(" with ")[2] for warning in place.warnings] == ([expected] if expected else [])
