"""Prepares the user's machine for a run: where the trainer starts, where Ray's sockets lie, and what its environment holds.

A run starts in an empty folder, because modules beside the user's job file would otherwise replace ours in Ray's workers. What
cannot be used as it is (a TMPDIR whose paths are too long for sockets, a HOME that cannot be written) is avoided with
a warning; where nothing else is left, it is bad input. Tests: tests/finetune/cli/local/test_surroundings.py.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune.api.errors import BadInputError, InputError
from finetune.system.interpreter import ROOT, lasting_python_path
from finetune.system.scratch import FOLDER_VARIABLE

SOCKET_PATH_MAX_BYTES = 107
"""sun_path of unix(7), without its closing zero."""
RAY_SOCKET = "/ft-12345678/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
TEMPORARY_MAX_BYTES = SOCKET_PATH_MAX_BYTES - len(RAY_SOCKET)
FALLBACKS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  only a folder of our own, with a name nobody can guess, is made there
PACKAGES = ("finetune", "trainer")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
DISK_REFUSED_BYTES, DISK_WARNED_BYTES = 64 * 2**20, 2**30
"""Ray's logs and the first records of a run need tens of megabytes; checkpoints and models take more than the rest."""


@dataclass(frozen=True)
class Surroundings:
    """A folder of this run alone, the trainer's environment, and what the user should know about both."""

    folder: Path
    environment: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def start_folder(self) -> Path:
        """The empty folder that the trainer starts in."""
        return self.folder / "start"

    @property
    def packages(self) -> Path:
        """The folder that holds links to our packages and nothing else, to be searched before all else."""
        return self.folder / "packages"


@contextlib.contextmanager
def surroundings(output: Path | None = None, field: str = "--output") -> Iterator[Surroundings]:
    """Yield fit surroundings, whose folder goes afterwards; BadInputError where the machine offers none.

    `output` is the folder that is written to, given as `field`, whose disk must have room.
    """
    environment = dict(os.environ)
    warnings: list[str] = []
    base = _temporary_folder(environment, warnings)
    if output is not None:
        warnings += _room(output, field)
    folder = Path(tempfile.mkdtemp(prefix="ft-", dir=base))
    try:
        found = Surroundings(folder, environment, ())
        found.start_folder.mkdir()
        found.packages.mkdir()
        for package in PACKAGES:
            (found.packages / package).symlink_to(ROOT / package)
        environment |= {"RAY_TMPDIR": str(folder), FOLDER_VARIABLE: str(folder)}
        _home(environment, folder, warnings)
        _network(environment)
        _python(environment)
        yield Surroundings(folder, environment, tuple(warnings))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder(environment: dict[str, str], warnings: list[str]) -> Path:
    """Return a folder for temporary files whose paths are short enough; one that was asked for and is not taken is named."""
    unfit: list[str] = []
    for name in ("RAY_TMPDIR", "TMPDIR"):
        given = environment.get(name)
        problem = _unfit(Path(given)) if given else None
        if given and problem is None:
            return Path(given)
        if given and problem:
            unfit.append(f"{name}={given} {problem}")
            del environment[name]  # Python's own helpers of Ray put sockets there too
    for fallback in FALLBACKS:
        if _unfit(Path(fallback)) is None:
            warnings += [f"{problem}; this run keeps its temporary files in {fallback}" for problem in unfit]
            environment.setdefault("TMPDIR", fallback)
            return Path(fallback)
    problem = "; ".join([*unfit, *(f"{fallback} {_unfit(Path(fallback))}" for fallback in FALLBACKS)])
    fix = f"set TMPDIR to a folder that can be written and whose path has at most {TEMPORARY_MAX_BYTES} bytes"
    raise BadInputError([InputError("TMPDIR", f"there is no folder for temporary files: {problem}", fix)])


def _unfit(folder: Path) -> str | None:
    """Say why Ray cannot have its sockets in a folder; None when it can."""
    if len(os.fsencode(folder)) > TEMPORARY_MAX_BYTES:
        return f"is too long for Ray's sockets, which leave it {TEMPORARY_MAX_BYTES} bytes"
    return _usable(folder)


def _usable(folder: Path) -> str | None:
    if not folder.is_absolute():
        return "is not an absolute path"
    if not folder.is_dir():
        return "does not exist"
    try:
        with tempfile.TemporaryDirectory(prefix="ft-", dir=folder):
            pass
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    if shutil.disk_usage(folder).free < DISK_REFUSED_BYTES:
        return "is on a full disk"
    return None


def _room(output: Path, field: str) -> list[str]:
    """Return a warning where the disk of the output is nearly full; BadInputError where nothing can be written to it."""
    place = next(path for path in (output, *output.parents) if path.exists())
    usage = shutil.disk_usage(place)
    free = usage.free
    if not usage.total:  # no disk at all: writing will show
        return []
    if free < DISK_REFUSED_BYTES:
        problem = f"{output} is on a disk with {free / 1e6:.0f} MB free"
        raise BadInputError([InputError(field, problem, "make room, or give a folder on another disk")])
    if free < DISK_WARNED_BYTES:
        return [f"{output} is on a disk with {free / 1e6:.0f} MB free; checkpoints and the model may need more"]
    return []


def _home(environment: dict[str, str], folder: Path, warnings: list[str]) -> None:
    """Give libraries a folder for what they keep in the home directory, where there is none that can be written."""
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    if home.is_absolute() and _writable(home):
        environment["HOME"] = str(home)  # Ray asks for the variable and for nothing else
        cache = home / ".cache"
        if not cache.exists() or _writable(cache):
            return
        environment.setdefault("FINETUNE_CACHE", str(folder / "cache"))
        _hub_cache(environment, cache, folder)
        warnings.append(f"{cache} cannot be written: what this run caches is removed after it; set FINETUNE_CACHE and HF_HOME to keep it")
        return
    (folder / "home").mkdir()
    environment["HOME"] = str(folder / "home")
    _hub_cache(environment, home / ".cache", folder)
    warnings.append(f"HOME={home} cannot be written: what this run caches is removed after it; set FINETUNE_CACHE and HF_HOME to keep it")


def _hub_cache(environment: dict[str, str], cache: Path, folder: Path) -> None:
    """Read the hub's models from a cache that cannot be written, and keep new files elsewhere."""
    if "HF_HOME" in environment:
        return
    there = cache / "huggingface"
    environment["HF_HOME"] = str(there if there.is_dir() else folder / "huggingface")
    environment.setdefault("HF_DATASETS_CACHE", str(folder / "datasets"))
    environment.setdefault("HF_MODULES_CACHE", str(folder / "modules"))


def _writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, which its permissions alone do not say (root, network, read-only mounts)."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _network(environment: dict[str, str]) -> None:
    """Keep the traffic between the processes of a run away from proxies and from another Ray."""
    environment.pop("RAY_ADDRESS", None)
    for name in ("no_proxy", "NO_PROXY"):
        given = environment.get(name, environment.get("NO_PROXY", environment.get("no_proxy", "")))
        hosts = [host for host in given.split(",") if host]
        environment[name] = ",".join([*hosts, *(host for host in LOCAL_HOSTS if host not in hosts)])


def _python(environment: dict[str, str]) -> None:
    """Stop the interpreters of a run from importing from their current folder and from depending on the locale."""
    environment["PYTHONPATH"] = os.pathsep.join(lasting_python_path(environment))
    environment |= {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
