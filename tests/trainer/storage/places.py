"""Every kind of place by name, for the contract tests; also for programs that they start and kill."""

from collections.abc import Callable
from pathlib import Path

from trainer.storage.localfolder import LocalFolder
from trainer.storage.place import Place

KINDS: dict[str, Callable[[Path], Place]] = {"local folder": lambda folder: LocalFolder(folder / "place", "pvc://claim/place")}
"""A new kind gets a row here and passes all of test_place.py."""


def publish(place: Place, name: str, text: str) -> None:
    """Publish a folder of two files, one below the other, with the same text in both."""
    with place.stage(name) as staged:
        (staged.folder / "below").mkdir()
        for file in ("a.txt", "below/b.txt"):
            (staged.folder / file).write_text(text)
        staged.publish()


def content(place: Place, name: str) -> set[str]:
    """Return the texts of a folder that `publish` wrote; a folder that is not whole fails the test."""
    folder = place.fetch(name)
    assert place.names(name) == [f"{name}/a.txt", f"{name}/below"]
    return {(folder / "a.txt").read_text(), place.fetch(f"{name}/below/b.txt").read_text()}
