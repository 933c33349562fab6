"""Replaces the run in a folder for `--overwrite`: moves it aside, and removes it only once the new one's input has passed.

The trainer writes run.json when its checks are through; as long as there is none, the previous run can come back.
Every function may be called again after a kill in its middle. Tests: tests/finetune/cli/local/test_replacing.py.
"""

import shutil
import uuid
from pathlib import Path

from finetune.cli.local.configuration import Folders
from finetune.cli.local.output import OWN_PRIVATE_FILES, leave_logs, own_files, remove_run


def set_aside(folders: Folders) -> bool:
    """Move what a previous run wrote out of the way, nothing else; return whether there was anything."""
    if not _move(folders, _inside(_moving(folders))):
        return False
    _moving(folders).rename(_aside(folders))
    return True


def discard_once_replaced(folders: Folders) -> None:
    """Remove the run that was set aside if the new one has taken its place; what cannot be removed ends no training."""
    if _aside(folders).is_dir() and (folders.output / "run.json").is_file():
        _discarded(folders).mkdir(exist_ok=True)
        _aside(folders).rename(_discarded(folders) / uuid.uuid4().hex)  # beside what an earlier removal has left
        shutil.rmtree(_discarded(folders), ignore_errors=True)


def waits_for_its_place(folders: Folders) -> bool:
    """Return whether a run that was set aside comes back, because the new one has not taken its place."""
    return _aside(folders).is_dir() and not (folders.output / "run.json").is_file()


def settle(folders: Folders) -> bool:
    """End a replacement, however far it came: the previous run is removed, or back in its place; return whether it is back."""
    shutil.rmtree(_discarded(folders), ignore_errors=True)
    discard_once_replaced(folders)
    refused_log = b""
    if _aside(folders).is_dir():
        refused_log = folders.log.read_bytes() if folders.log.is_file() else b""
        remove_run(folders)
        _aside(folders).rename(_moving(folders))
    if not _moving(folders).is_dir():
        return False
    _move(_inside(_moving(folders)), folders)
    shutil.rmtree(_moving(folders))
    with folders.log.open("ab") as log:
        log.write(refused_log)
    return True


def _aside(folders: Folders) -> Path:
    return folders.private / "previous"


def _discarded(folders: Folders) -> Path:
    return folders.private / "previous.discarded"


def _moving(folders: Folders) -> Path:
    """Return the folder of files that are on their way out or back; what lies here belongs back."""
    return folders.private / "previous.moving"


def _inside(folder: Path) -> Folders:
    return Folders(folder / "output", folder / "private")


def _move(source: Folders, target: Folders) -> bool:
    """Move the files that a run writes; return whether there were any in the output."""
    places = [(source.output / name, target.output / name) for name in own_files(source.output)]
    places += [(source.private / name, target.private / name) for name in OWN_PRIVATE_FILES]
    there = [(path, place) for path, place in places if path.exists() or path.is_symlink()]
    for path, place in there:
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    leave_logs(source)
    return bool(there)
