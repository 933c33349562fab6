"""Finds what a name means to the commands that use a model: a run's folder, a model, an adapter with its base, or a hub name.

Of a run the merged model is taken; else its adapter on its base; where the base is asked for too, the adapter first, because one
model in memory then gives both answers. Reads small files; no torch. Test: tests/trainer/using/test_found.py.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.results import MODEL, SMALL_FILES
from finetune.api.sections import Export
from finetune.api.sources import MODEL_NAME, Initialization, ModelSource
from finetune.api.tasks import TaskName
from finetune.api.using import ChosenModel
from trainer.data.reading import Languages
from trainer.hub.connection import HubUnavailable
from trainer.hub.weightnames import check_adapter_names
from trainer.model.location import LocatedModel, locate
from trainer.model.weights import DRAWN, WEIGHTS_RECORD
from trainer.reporting.sources import pairs_in
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import RUN_FILE, Ownership

ADAPTER_CONFIG, CONFIG = SMALL_FILES[Export.ADAPTER], SMALL_FILES[Export.MERGED]
MOVED = "--base-model"
"""The option that names the folder of a base model that was moved."""


@dataclass(frozen=True)
class Base:
    """The base model of what was found: where it is recorded to be, and the digest of its weights."""

    located: LocatedModel
    digest: str | None
    """None: not recorded."""


@dataclass(frozen=True)
class Found:
    """What is to be used. With an `adapter`, `located` is the base that it belongs on."""

    located: LocatedModel
    said: str
    """What was taken, in words."""
    adapter: Path | None = None
    digest: str | None = None
    """Of the weights that `located` must have; None: any."""
    task: TaskName | None = None
    """The one that it was trained for, if that is recorded."""
    known: tuple[str, ...] | None = None
    """What that task knew of the training rows, if that is recorded."""
    columns: Columns | None = None
    """Of the run's training data."""
    languages: tuple[Languages, ...] | None = None
    """From and into which the training data translates, if that is recorded."""
    seed: int | None = None
    """What the run that trained it drew from, if that is recorded."""
    max_length: int | None = None
    """Tokens of a row at most in the run that trained it, if that is recorded."""
    record: Path | None = None
    """Folder with the record of the base model; None for a model that was not trained here."""


def find(chosen: ChosenModel, *, base: bool = False) -> Found:
    """Return what the name means; `base`: the base model will be asked for too.

    Raises InputError, and HubUnavailable for a hub that cannot be reached.
    """
    folder = Path(chosen.name)
    if folder.is_dir():
        return _in_folder(folder, chosen, base=base)
    if folder.exists():
        raise InputError(chosen.field, f"{folder} is a file, not a folder", "name the folder that it is in")
    # The command makes paths absolute, unless nothing is there and it may be a name on the hub.
    if not re.fullmatch(MODEL_NAME, chosen.name):
        raise InputError(chosen.field, f"there is no folder {chosen.name}", "name the folder of a run or of a model")
    try:
        located = _located(ModelSource(name=chosen.name), chosen.field)
    except InputError as error:
        raise InputError(chosen.field, f"there is no folder {chosen.name}, and as a name: {error.problem}", error.fix) from error
    except HubUnavailable as error:
        raise HubUnavailable(f"there is no folder {chosen.name}, and as a name: {error}") from error
    return Found(located, f"{located.name}, from {located.source}")


def _in_folder(folder: Path, chosen: ChosenModel, *, base: bool) -> Found:
    if (folder / RUN_FILE).is_file():
        return _in_run(folder, chosen, base=base)
    if (folder / ADAPTER_CONFIG).is_file():
        return _adapter(folder, chosen)
    if (folder / CONFIG).is_file():
        return _whole(folder, chosen)
    if form := _form_in(folder, base=base):  # the model folder of a run, or what `finetune export --to` wrote
        return form(folder, chosen)
    problem = f"{folder} is neither a run nor a model: it has no {RUN_FILE}, {CONFIG} or {ADAPTER_CONFIG}"
    raise InputError(chosen.field, problem, "name the folder of a run, of a model or of an adapter")


def _in_run(folder: Path, chosen: ChosenModel, *, base: bool) -> Found:
    try:
        recorded = Ownership.recorded(LocalFolder(folder))
    except InputError as error:
        raise InputError(chosen.field, error.problem, error.fix) from error
    form = _form_in(folder / MODEL, base=base)
    if form is None:
        problem = f"the run in {folder} has written no model yet"
        raise InputError(chosen.field, problem, f"finish it, or write its newest checkpoint: finetune export {folder} --merged")
    found = form(folder / MODEL, chosen)
    data: dict[str, Any] = recorded.lineage.get("data", {})
    columns = (data.get("train") or [{}])[0].get("columns")
    return replace(
        found,
        said=f"{found.said} of the run {recorded.name}",
        task=TaskName(recorded.lineage["task"]),
        columns=Columns.model_validate(columns) if columns else None,
        languages=pairs_in(data),
        seed=recorded.lineage["training"]["seed"],
        max_length=recorded.lineage["training"].get("maxSequenceLength"),
    )


def _form_in(folder: Path, *, base: bool) -> Callable[[Path, ChosenModel], Found] | None:
    """Return what reads the form of an exported model that is to be used; None if the folder has none."""
    forms: dict[Export, Callable[[Path, ChosenModel], Found]] = {
        Export.MERGED: lambda there, chosen: _whole(there / Export.MERGED, chosen),
        Export.ADAPTER: lambda there, chosen: _adapter(there / Export.ADAPTER, chosen),
    }
    order = sorted(forms, key=lambda form: (form is Export.ADAPTER) != base)
    return next((forms[form] for form in order if (folder / form / SMALL_FILES[form]).is_file()), None)


def _whole(folder: Path, chosen: ChosenModel) -> Found:
    located, record = _located(ModelSource(path=str(folder)), chosen.field), _record(folder)
    if record is None:
        return Found(located, f"the model in {folder}")
    return _recorded(Found(located, "the whole model", record=folder), record)


def _adapter(folder: Path, chosen: ChosenModel) -> Found:
    check_adapter_names((entry.name for entry in folder.iterdir()), chosen.field, str(folder))
    found = base_of(folder, chosen)
    adapter = Found(found.located, f"the adapter, on {found.located.name}", folder, found.digest, record=folder)
    return _recorded(adapter, _record(folder) or {})


def _recorded(found: Found, record: dict[str, Any]) -> Found:
    """Return what was found with what the record beside its weights says of how it was trained."""
    pairs, seed = record.get("languages"), record.get("seed")
    return replace(
        found,
        task=_task(record),
        known=_known(record),
        languages=tuple((str(source), str(target)) for source, target in pairs) if isinstance(pairs, list) else None,
        seed=seed if isinstance(seed, int) else None,
    )


def base_of(folder: Path, chosen: ChosenModel) -> Base:
    """Return the base model of an exported folder: the one that is named, else the one in its record; InputError if it is gone."""
    record = _record(folder) or {}
    digest = record.get("digest")
    if chosen.base_model is not None:
        return Base(_located(_drawn_like(ModelSource(path=str(chosen.base_model)), record), MOVED), digest)
    faults = []
    for source in _recorded_sources(folder, record):
        try:
            return Base(_located(_drawn_like(source, record), chosen.field), digest)
        except InputError as error:
            faults.append(error.problem)
    problem = f"the base model of {folder} is not there: {'; '.join(faults) or 'nothing says where it was'}"
    raise InputError(chosen.field, problem, f"restore it, or name its folder with {MOVED}")


def _drawn_like(source: ModelSource, record: dict[str, Any]) -> ModelSource:
    """Return the source of a base whose weights are random if the record says that they were."""
    drawn = str(record.get("digest") or "").startswith(DRAWN)
    return source.model_copy(update={"initialization": Initialization.RANDOM}) if drawn else source


def _recorded_sources(folder: Path, record: dict[str, Any]) -> list[ModelSource]:
    """Return where the base may be, most precise first: as the record names it, then as the adapter does."""
    named = [(record.get("name"), record.get("revision"))]
    adapter = _read(folder / ADAPTER_CONFIG) or {}
    named.append((adapter.get("base_model_name_or_path"), adapter.get("revision")))
    sources = []
    for name, revision in named:
        if not isinstance(name, str):
            continue
        is_path = Path(name).is_absolute() or not re.fullmatch(MODEL_NAME, name)
        source = ModelSource(path=name) if is_path else ModelSource(name=name, revision=revision)
        sources += [source] if source not in sources else []
    return sources


def _located(source: ModelSource, field: str) -> LocatedModel:
    try:
        return replace(locate(source), field=field)
    except InputError as error:
        raise InputError(field, error.problem, error.fix) from error


def _task(record: dict[str, Any]) -> TaskName | None:
    return TaskName(record["task"]) if record.get("task") in list(TaskName) else None


def _known(record: dict[str, Any]) -> tuple[str, ...] | None:
    known = record.get("known")
    return tuple(map(str, known)) if isinstance(known, list) else None


def _record(folder: Path) -> dict[str, Any] | None:
    return _read(folder / WEIGHTS_RECORD)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
