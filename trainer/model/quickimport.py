"""Makes transformers quicker to import, by a hook that replaces two functions of one of its modules.

It lists what its 3,000 files define by reading them all, twice, in every process. The list is the same each time, so it is kept
in the cache, by version and place; where anything about it is not as expected, transformers reads its files as usual. And it
imports torch, which a program that only needs tokenizers can do without. Test: tests/trainer/model/test_quickimport.py.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import version
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer.model.gguf import cache_directory

MODULE, SCANNER = "transformers.utils.import_utils", "create_import_structure_from_path"
Structure = dict[Any, Any]
"""What a folder defines: the structure of each folder in it by name, and by the libraries that they need (a frozenset) names by module."""


def keep_what_transformers_lists() -> None:
    """Take effect at the next import of transformers; does nothing the second time."""
    _finder()


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Let transformers, when it is imported in this block, find no torch, whatever other threads import meanwhile."""
    finder = _finder()
    finder.torch = False
    try:
        yield
    finally:
        finder.torch = True


def _finder() -> "_Finder":
    found = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    if found is None:
        found = _Finder()
        sys.meta_path.insert(0, found)
    return found


class _Finder(MetaPathFinder):
    """Finds one module of transformers, of which functions are replaced once it is loaded."""

    torch = True
    """Whether transformers is to find torch."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != MODULE:
            return None
        found = PathFinder.find_spec(fullname, path)
        if found is None or found.origin is None or not isinstance(found.loader, SourceFileLoader):
            return None
        return spec_from_file_location(fullname, found.origin, loader=_Loader(fullname, found.origin, self.torch))


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, torch: bool) -> None:
        super().__init__(fullname, path)
        self._torch = torch

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if not self._torch:
            module.is_torch_available = lambda: False  # type: ignore[attr-defined]  # asked by all of transformers, from here on
        scan = getattr(module, SCANNER, None)
        if scan is not None:
            setattr(module, SCANNER, Kept(scan, Path(self.path).parents[1] / "models"))


class Kept:
    """The scanner of transformers, which for the folder of all models takes what an earlier process found."""

    def __init__(self, scan: Callable[[Any], Structure], models: Path) -> None:
        self._scan, self._models = scan, models
        self._found: Structure | None = None

    def __call__(self, place: Any) -> Structure:
        """Return the structure of a folder, or of the folder that a file is in."""
        folder = Path(place)
        if folder.name == "__init__.py":
            folder = folder.parent
        if folder != self._models:
            return self._scan(place)
        if self._found is None:
            self._found = self._stored() or self._scanned(folder)
        return self._found

    def _scanned(self, folder: Path) -> Structure:
        found = self._scan(folder)
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            own = self._file.with_suffix(f".{os.getpid()}")  # several ranks may do this at once
            own.write_text(json.dumps(packed(found), separators=(",", ":")), encoding="utf-8")
            own.replace(self._file)
        return found

    def _stored(self) -> Structure | None:
        try:
            return unpacked(json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def _file(self) -> Path:
        changed = os.stat(self._models).st_mtime_ns
        return cache_directory() / "imports" / f"transformers-{version('transformers')}-{changed}.json"


def packed(structure: Structure) -> list[Any]:
    """Return a structure as JSON holds it."""
    folders = {key: packed(inner) for key, inner in structure.items() if isinstance(key, str)}
    rest = ((key, inner) for key, inner in structure.items() if not isinstance(key, str))
    return [folders, [[sorted(key), {module: sorted(names) for module, names in inner.items()}] for key, inner in rest]]


def unpacked(stored: list[Any]) -> Structure:
    """Return a structure from what `packed` returned."""
    folders, needs = stored
    found: Structure = {frozenset(libraries): {module: set(names) for module, names in inner.items()} for libraries, inner in needs}
    return found | {name: unpacked(inner) for name, inner in folders.items()}
