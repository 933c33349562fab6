"""A temporary folder goes with its process, however that ends."""

import threading
from pathlib import Path

import pytest

from finetune.system.scratch import FOLDER_VARIABLE, held, hold, remove_all, remove_starts, run_folder


def test_a_folder_that_is_held_is_removed_when_its_work_is_done(tmp_path: Path) -> None:
    (folder := tmp_path / "rows").mkdir()
    with held(folder):
        (folder / "a").touch()
    assert not folder.exists()


def test_all_folders_that_are_held_are_removed_for_a_process_that_leaves_at_once(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        (folder / "deep").mkdir(parents=True)
        hold(folder)
    remove_all()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_thread_writes_to_is_removed_all_the_same(tmp_path: Path) -> None:
    (folder := tmp_path / "rows").mkdir()
    writes, done = threading.Event(), threading.Event()

    def write() -> None:
        for number in range(1_000_000):
            try:
                (folder / str(number)).touch()
            except FileNotFoundError:
                break
            if number == 500:
                writes.set()
        done.set()

    threading.Thread(target=write, daemon=True).start()
    writes.wait()
    hold(folder)
    remove_all()
    assert not folder.exists()
    done.wait()


def test_what_killed_starts_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("start-killed/rows", "start-alive", "tokens"):
        (tmp_path / name).mkdir(parents=True)
    remove_starts(tmp_path, but=tmp_path / "start-alive")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["start-alive", "tokens"]
    remove_starts(tmp_path / "missing")


def test_a_trainer_on_a_cluster_has_no_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert run_folder() is None
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert run_folder() == tmp_path
