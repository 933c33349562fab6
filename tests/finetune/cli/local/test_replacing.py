"""What becomes of the run that --overwrite replaces, also when the replacement is killed at any point."""

from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.cli.local import replacing
from finetune.cli.local.configuration import Folders
from finetune.cli.local.replacing import discard_once_replaced, set_aside, settle
from finetune.system.scratch import DATA

RUN = {
    "run.json": "old",
    "model/adapter/weights": "old",
    "trainer.log": "old\n",
    "logs/attempt-1/rank-0.log": "old",
    ".finetune/config.json": "old",
}
OTHERS = {"notes.txt": "mine", "models/mine": "mine", "logs/nightly.log": "mine"}


def write(folder: Path, files: dict[str, str]) -> Folders:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / ".finetune").mkdir(exist_ok=True)
    return Folders(folder)


def held(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_run_makes_way_and_files_of_others_stay(tmp_path: Path) -> None:
    folders = write(tmp_path, RUN | OTHERS)
    assert set_aside(folders)
    assert {name: text for name, text in held(tmp_path).items() if not name.startswith(".finetune/previous/")} == OTHERS


def test_an_empty_folder_has_nothing_to_replace(tmp_path: Path) -> None:
    folders = write(tmp_path, OTHERS)
    assert not set_aside(folders)
    assert not settle(folders)
    assert held(tmp_path) == OTHERS


def test_a_run_whose_replacement_was_refused_comes_back_and_the_refusal_stays_in_the_log(tmp_path: Path) -> None:
    folders = write(tmp_path, RUN)
    set_aside(folders)
    write(tmp_path, {"trainer.log": "refused\n", "status.json": "new", ".finetune/config.json": "new"})
    discard_once_replaced(folders)
    assert settle(folders)
    assert held(tmp_path) == RUN | {"trainer.log": "old\nrefused\n"}


def test_a_run_is_gone_once_another_has_taken_its_place(tmp_path: Path) -> None:
    folders = write(tmp_path, RUN)
    set_aside(folders)
    write(tmp_path, {"run.json": "new"})
    discard_once_replaced(folders)
    assert held(tmp_path) == {"run.json": "new"}
    assert not settle(folders)


@pytest.mark.parametrize("accepted", [True, False])
def test_tokens_stay_where_they_are_for_whichever_run_fits_them(tmp_path: Path, accepted: bool) -> None:
    folders = write(tmp_path, RUN | {str(DATA / "tokens-abc/shard"): "tokens"})
    set_aside(folders)
    assert (tmp_path / DATA / "tokens-abc/shard").is_file()
    if accepted:
        write(tmp_path, {"run.json": "new"})
    assert settle(folders) is not accepted
    assert (tmp_path / DATA / "tokens-abc/shard").is_file()


def test_a_link_is_moved_and_not_what_it_points_to(tmp_path: Path) -> None:
    folders = write(tmp_path / "out", {"run.json": "old"})
    (tmp_path / "disk").mkdir()
    for name in ("checkpoints", "logs"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "disk")
    set_aside(folders)
    assert settle(folders)
    for name in ("checkpoints", "logs"):
        assert (tmp_path / "out" / name).resolve() == tmp_path / "disk"


class Killed(BaseException):
    """What ends the program in the middle of a move."""


def kill_after(moves: int, action: Callable[[Folders], object], folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin an action that is killed instead of its move number `moves`, counted from 0."""
    rename, left = Path.rename, [moves]

    def some(path: Path, target: Path) -> Path:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", some)
        with pytest.raises(Killed):
            action(folders)


@pytest.mark.parametrize("moves", range(5))
def test_a_kill_while_a_run_makes_way_or_comes_back_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int) -> None:
    folders = write(tmp_path, RUN)
    kill_after(moves, set_aside, folders, monkeypatch)
    settle(folders)
    assert held(tmp_path) == RUN
    set_aside(folders)
    kill_after(moves, settle, folders, monkeypatch)
    settle(folders)
    assert held(tmp_path) == RUN
    assert not list(tmp_path.glob(".finetune/previous*"))


@pytest.mark.parametrize("removed", [0, 1])
def test_a_kill_while_a_replaced_run_is_removed_leaves_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int) -> None:
    folders = write(tmp_path, RUN)
    set_aside(folders)
    write(tmp_path, {"run.json": "new"})

    def killed(folder: Path, **_options: bool) -> None:
        if removed:
            next(path for path in folder.rglob("*") if path.is_file()).unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(replacing.shutil, "rmtree", killed)
        with pytest.raises(Killed):
            discard_once_replaced(folders)
    assert not settle(folders)
    assert held(tmp_path) == {"run.json": "new"}


def test_a_replaced_run_that_cannot_be_removed_comes_not_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = write(tmp_path, RUN)
    set_aside(folders)
    write(tmp_path, {"run.json": "new"})
    monkeypatch.setattr(replacing.shutil, "rmtree", lambda _folder, **_options: None)
    discard_once_replaced(folders)
    assert not settle(folders)
    assert (tmp_path / "run.json").read_text() == "new"
