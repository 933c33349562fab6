"""Where a run's rows and tokens are stored: `.finetune/data` in the output folder, which the driver writes and all ranks read.

Each start reads the sources again, so its rows have their own folder, `start-…`, which is removed when the run ends. Tokens
outlive it, named by the digest of what they were made from. A start whose input is refused leaves nothing behind. As for
checkpoints, the output folder must be writable and at the same path on every node (on a cluster, a claim that all pods
mount). A check writes the same to a temporary folder instead, except tokens that are there already, and for language modeling
all tokens; it needs up to several times the space of the sources. The folder is in that of the run, if `finetune` started it,
and in TMPDIR otherwise.
Tests: tests/trainer/data/test_datafolder.py.
"""

import contextlib
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from finetune.system.scratch import DATA, START, held, remove_starts, run_folder
from trainer.storage.localfolder import LocalFolder
from trainer.storage.place import Staged


class DataFolder:
    """The folder of one start, next to what earlier starts left."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self._lasting, self._scratch = LocalFolder(root), LocalFolder(scratch)
        self.kept = False
        self.begun: set[str] = set()
        """Names that this start has written or begun to write."""
        self.intact: set[str] = set()
        """Names whose content this start has read and found whole."""

    @property
    def rows(self) -> Path:
        """Where the rows of this start are written."""
        return self._scratch.root / "rows"

    def find(self, name: str) -> Path | None:
        """Return the folder that was published under a name, by this start or an earlier one."""
        for place in (self._scratch, self._lasting):
            with contextlib.suppress(FileNotFoundError):
                return place.fetch(name)
        return None

    def folder_of(self, name: str) -> Path:
        """Return the folder that was published under a name; FileNotFoundError where there is none."""
        found = self.find(name)
        if found is None:
            raise FileNotFoundError(name)
        return found

    def stage(self, name: str) -> AbstractContextManager[Staged]:
        """Begin a folder of tokens. Until `keep` is called it belongs to this start alone."""
        self.begun.add(name)
        return (self._lasting if self.kept else self._scratch).stage(name)

    def keep(self) -> None:
        """Call when the input is accepted: removes leftovers of killed starts, and makes what was published permanent."""
        self.kept = True
        root = self._lasting.root
        root.mkdir(parents=True, exist_ok=True)
        remove_starts(root, but=self._scratch.root)
        self._lasting.recover()
        for name in self._scratch.names():
            if name != self.rows.name:
                self._lasting.remove(name)
                (self._scratch.root / name).rename(root / name)

    def forget_all_but(self, names: Collection[str]) -> None:
        """Remove tokens that this run does not use."""
        for name in self._lasting.names():
            if name not in names and not name.startswith(START):
                self._lasting.remove(name)


@contextlib.contextmanager
def data_of_a_run(output: Path) -> Iterator[DataFolder]:
    """Yield the data folder of a start; at the end its rows are removed and, unless it was kept, everything else it created."""
    root = output / DATA
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    scratch = root / f"{START}{uuid.uuid4().hex[:8]}"
    scratch.mkdir(parents=True)
    data = DataFolder(root, scratch)
    try:
        with held(scratch):
            yield data
    finally:
        if not data.kept:
            for folder in missing:
                with contextlib.suppress(OSError):
                    folder.rmdir()


@contextlib.contextmanager
def data_of_a_check(output: Path) -> Iterator[DataFolder]:
    """Yield a temporary data folder, which can also read the tokens of the run in `output`."""
    with held(Path(tempfile.mkdtemp(prefix="finetune-data-", dir=run_folder()))) as scratch:
        yield DataFolder(output / DATA, scratch)
