"""Turn a GGUF file into a folder that can be trained: dequantized once, cached, safe with several ranks at once.

Needs no torch, so that it can be done beside the other checks of a driver. Test: tests/trainer/model/test_gguf.py.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from trainer.hub.weightnames import WEIGHTS
from trainer.storage.digest import sha256_of
from trainer.storage.localfolder import LocalFolder

CACHE_VARIABLE = "FINETUNE_CACHE"
FORMAT_VERSION = 1
"""Part of a folder's name; increase it when the conversion gives another result."""


def cache_directory() -> Path:
    """Return the cache folder: FINETUNE_CACHE, else ~/.cache/finetune-operator."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "finetune-operator"


def convert(file: Path, folder: Path, go_on: Callable[[], None]) -> None:
    """Write the model of a GGUF file as save_pretrained writes it, in float32, with its tokenizer and chat template.

    `go_on` is called before each tensor and raises to stop.
    """
    from trainer.model.ggufmodel import write_settings, write_weights
    from trainer.model.ggufreader import GgufFile

    found = GgufFile.open(file)
    write_weights(found, folder / WEIGHTS, go_on)
    write_settings(found, folder)


def cached_folder(file: Path) -> Path | None:
    """Return the folder with the dequantized model; None if it was not made yet."""
    folder = _folder(file)
    return folder if folder.is_dir() else None


def dequantized_folder(
    file: Path, work: Callable[[Path, Path, Callable[[], None]], None] = convert, go_on: Callable[[], None] = lambda: None
) -> Path:
    """Return the folder with the dequantized model (float32 safetensors, tokenizer, generation config), making it if needed.

    Only one process makes it, under a lock, and others see it whole or not at all. Raises RuntimeError for a file that cannot be
    converted and for a cache that cannot be written, and OSError for a disk that is full or fails. `go_on` is called again and again,
    and stops the work by what it raises: nothing is left of it then.
    """
    folder = _folder(file)
    models = folder.parent
    if folder.is_dir():
        return folder
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _locked(models / f"{folder.name}.lock"):
            if not folder.is_dir():
                go_on()
                with LocalFolder(models).stage(folder.name) as staged:
                    work(file, staged.folder, go_on)
                    go_on()
                    staged.publish()
    except ValueError as error:
        raise RuntimeError(f"{file} could not be dequantized: {error}") from error
    except PermissionError as error:
        raise RuntimeError(f"the cache {models} cannot be written ({error.strerror}); set {CACHE_VARIABLE} to a folder that can") from error
    return folder


def _folder(file: Path) -> Path:
    found = file.stat()
    return cache_directory() / "models" / f"{_digest(file, found.st_ino, found.st_size, found.st_ctime_ns)[:32]}-v{FORMAT_VERSION}"


@lru_cache(maxsize=8)
def _digest(file: Path, *_version: int) -> str:
    """Return the sha256 of a file, which is read once in each version: a run asks for the folder of its model again and again."""
    return sha256_of(file)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock that the kernel releases when the holder dies."""
    with file.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
