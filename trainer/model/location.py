"""Find the model that a job names, and report where it was found: a folder, a package, a local store or the hub.

Imports neither torch nor transformers, so that a missing model is reported before anything slow starts. The order for a model
with a name: with a `revision` the hub alone; else the local store, an installed package, the hub. Test:
tests/trainer/model/test_location.py.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from finetune.api.adaptation import CORPUS
from finetune.api.errors import InputError
from finetune.api.sources import Initialization, ModelSource
from trainer.hub.fetching import model_files
from trainer.model import package
from trainer.model.earlier import adapted_folder, field_of, source_of, untouched
from trainer.model.folder import check_folder
from trainer.model.gguf import cached_folder, dequantized_folder

STORE_VARIABLE = "FINETUNE_MODEL_STORE"
"""Environment variable: a folder of models, as org/name, that is searched before the hub."""


class ModelKind(StrEnum):
    """The form in which weights are stored."""

    FOLDER = "folder"
    GGUF = "gguf"


@dataclass(frozen=True)
class LocatedModel:
    """A model that was found. `field` names the part of the job that asked for it, for messages."""

    name: str
    """The hub name, or the folder's path."""
    field: str
    path: Path
    """Folder in the layout of save_pretrained, or a GGUF file."""
    kind: ModelKind
    source: str
    """Its origin in words, for log, report and status."""
    request: ModelSource
    revision: str | None = None
    """Commit on the hub, when it comes from there."""

    @property
    def draws(self) -> bool:
        """Whether the job asks for random weights in place of those that lie there."""
        return self.request.initialization is Initialization.RANDOM and adapted_folder(self.request) is None

    def pinned(self) -> ModelSource:
        """Return the request that finds the same weights on another node: with the hub's commit, otherwise unchanged."""
        return self.request.model_copy(update={"revision": self.revision}) if self.revision else self.request


def locate(model: ModelSource, *, weights: bool = True) -> LocatedModel:
    """Find a model and check its files.

    With `weights` False a model on the hub is checked and only its small files are fetched, which is enough for its
    tokenizer. Where all weights will be random no weight file is asked for, anywhere.
    Raises InputError for what the user must change, HubUnavailable when another attempt may succeed.
    """
    adapted = adapted_folder(model)
    if adapted is not None:
        return _adapted(model, Path(adapted), weights=weights)
    draws = model.initialization is Initialization.RANDOM
    weights = weights and not draws
    if model.name is None:
        return _folder(model, weights=not draws)
    if model.revision is None:
        found = _from_store(model, model.name) or _from_package(model, model.name)
        if found is not None:
            return found
    snapshot = model_files(model.name, model.revision, weights=weights)
    check_folder(snapshot.path, "model.name", weights=weights)
    return LocatedModel(
        name=model.name,
        field="model.name",
        path=snapshot.path,
        kind=ModelKind.FOLDER,
        source=snapshot.source,
        request=model,
        revision=snapshot.commit,
    )


def _adapted(model: ModelSource, path: Path, *, weights: bool) -> LocatedModel:
    """Return the model that learned a corpus."""
    check_folder(path, CORPUS, weights=weights)
    source = f"{model.name or model.path}, which learned {CORPUS}, folder {path}"
    return LocatedModel(name=str(path), field=CORPUS, path=path, kind=ModelKind.FOLDER, source=source, request=model)


def untouched_folder(located: LocatedModel) -> Path | None:
    """Return the folder of the weights that a model which learned a corpus was made from; None for any other model."""
    if adapted_folder(located.request) is None or located.request.initialization is Initialization.RANDOM:
        return None
    return folder_of(locate(untouched(located.request)))


def _folder(model: ModelSource, *, weights: bool) -> LocatedModel:
    if model.path is None:
        raise InputError("model.persistentVolumeClaim", "is not resolved to a folder", "give model.path or model.name")
    path, field = Path(model.path), field_of(model)
    check_folder(path, field, weights=weights)
    return LocatedModel(name=model.path, field=field, path=path, kind=ModelKind.FOLDER, source=source_of(model, path), request=model)


def _from_store(model: ModelSource, name: str) -> LocatedModel | None:
    store = os.environ.get(STORE_VARIABLE)
    path = Path(store) / name if store else None
    if path is None or not path.is_dir():
        return None
    check_folder(path, "model.name")
    return LocatedModel(name=name, field="model.name", path=path, kind=ModelKind.FOLDER, source=f"local model store, {path}", request=model)


def _from_package(model: ModelSource, name: str) -> LocatedModel | None:
    found = package.find(name)
    if found is None:
        return None
    is_folder = found.path.is_dir()
    if is_folder:
        check_folder(found.path, "model.name")
    return LocatedModel(
        name=name,
        field="model.name",
        path=found.path,
        kind=ModelKind.FOLDER if is_folder else ModelKind.GGUF,
        source=f"package {found.distribution}",
        request=model,
    )


def folder_of(located: LocatedModel, go_on: Callable[[], None] = lambda: None) -> Path:
    """Return the folder to load from; a GGUF file is dequantized into the cache at its first use, which `go_on` stops by raising."""
    return dequantized_folder(located.path, go_on=go_on) if located.kind is ModelKind.GGUF else located.path


def ready_folder(located: LocatedModel) -> Path | None:
    """Return the folder to load from; None for a GGUF file that is not dequantized yet."""
    return cached_folder(located.path) if located.kind is ModelKind.GGUF else located.path


def base_reference(located: LocatedModel) -> tuple[str, str | None]:
    """Return what loads the weights that are trained: name and commit on the hub, otherwise their folder.

    For weights that did not come from the hub, the name would load others, or wait for a hub that cannot be reached.
    """
    if located.revision is not None:
        return located.name, located.revision
    return str(folder_of(located).resolve()), None
