"""Reads every source of a job into one checked data set on disk; bad input fails here, before anything expensive starts.

Local files are read before the hub, so that their errors are reported at once. Sources are read as streams: only
digests of the rows are ever in memory. Tests: tests/trainer/preflight/test_prepare.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from finetune.api.adaptation import DOMAIN, GENERAL, REPLAY
from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.sources import Source
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig
from finetune.system.files import whole_letters
from trainer.augmentation.augmenter import Augmenter
from trainer.data.fewer import fewer_rows
from trainer.data.files import files_of, path_of
from trainer.data.formats import read_file
from trainer.data.nested import Empty, unfolded
from trainer.data.noticed import Noticed
from trainer.data.reading import Languages
from trainer.data.records import Record
from trainer.data.rows import Dataset, E
from trainer.data.rowstore import Places, RowStore, RowWriter, StoredRows
from trainer.data.splits import divide, put_back, without_duplicates, without_leakage
from trainer.preflight.columns import read_examples
from trainer.tasks.base import Task
from trainer.tasks.registry import reader_of


def prepare(config: TrainConfig, folder: Path) -> Dataset:
    """Return the rows of a run, checked, deduplicated and split; raises InputError for bad input.

    The rows are written to `folder`, which must exist as long as they are used.
    """
    if config.augmentation is not None:
        Augmenter(config.augmentation, config.training.seed)  # reports an unreadable dictionary now
    task, unlearned = reader_of(config.task), dict[int, str]()
    with RowWriter(folder) as writer:
        read = _read_sources(task_sources(config), task, writer, unlearned)
    texts = _read_texts(config, folder / "texts")
    findings = [finding for source in (*read.values(), *texts.values()) for finding in source.findings]
    store = writer.store()

    def rows_of(name: str, found: Mapping[str, ReadSource] = read, place: RowStore = store) -> StoredRows:
        places = [np.arange(0), *(source.places for field, source in found.items() if field.startswith(f"{name}["))]
        unique, duplicates = without_duplicates(name, StoredRows(place, np.concatenate(places)))
        findings.extend(duplicates)
        return unique

    def leak_free(name: str, rows: StoredRows, held_out: Mapping[str, StoredRows]) -> StoredRows:
        kept, leaks = without_leakage(name, rows, held_out)
        findings.extend(leaks)
        return kept

    measured = {name: rows_of(name, texts, next(iter(texts.values())).store) for name in (GENERAL, DOMAIN)} if texts else {}
    test = rows_of("data.test")
    validation = leak_free("data.validation", rows_of("data.validation"), {"data.test": test})
    train = leak_free("data.train", rows_of("data.train"), {"data.test": test, "data.validation": validation, **measured})
    (train, held_out_validation, held_out_test), returned = put_back(train, divide(config.data, train), task.untaught)
    findings.extend(returned)
    train, left_out = _learned("data.train", train, unlearned)
    findings.extend(left_out)
    every_training_row = train
    train, fewer = fewer_rows(train, config.data.max_train_rows, config.training.seed)
    findings.extend(fewer)
    sides = {"train": train, "validation": validation or held_out_validation, "test": test or held_out_test}
    adapting = dict(zip(("general", "domain"), measured.values(), strict=False))
    if config.adaptation is not None and config.adaptation.replay is not None:
        # Also rows that data.maxTrainRows left out: a run with fewer rows must not see them all the same.
        others = {**{f"data.{name}": rows for name, rows in sides.items()}, "data.train": every_training_row, **measured}
        replay, left_out = _learned(REPLAY, leak_free(REPLAY, rows_of(f"{REPLAY}.sources"), others), unlearned)
        findings.extend(left_out)
        adapting["replay"] = replay
    saved = {name: rows.saved(name) for name, rows in (sides | adapting).items()}
    dataset = Dataset(**saved, findings=tuple(findings))
    _check_held_out(config, dataset)
    return dataset


def _learned(name: str, rows: StoredRows, unlearned: Mapping[int, str]) -> tuple[StoredRows, list[str]]:
    """Return the rows that are learned, and a finding that counts the others. InputError if none is left."""
    without = np.isin(rows.places, list(unlearned))
    count = int(without.sum())
    if count == 0:
        return rows, []
    first = int(without.argmax())
    why, where = unlearned[int(rows.places[first])], rows[first].origin
    if count == len(rows):
        raise InputError(name, f"there is nothing to learn in any of its rows: {why} (the first: {where})", "give other rows to train on")
    words = "1 row is" if count == 1 else f"{count} rows are"
    return rows.only(~without), [f"{name}: {words} not learned: {why} (the first: {where})"]


@dataclass(frozen=True)
class ReadSource:
    """What was read from one source."""

    store: RowStore
    places: Places
    """Of its rows in the store."""
    findings: Sequence[str]


def task_sources(config: TrainConfig) -> dict[str, Source]:
    """Return the sources of rows of the job's task by their fields, such as data.train[0]."""
    data, adaptation = config.data, config.adaptation
    replay = adaptation.replay.sources if adaptation is not None and adaptation.replay is not None else None
    sides = {"data.train": data.train, "data.validation": data.validation, "data.test": data.test, f"{REPLAY}.sources": replay}
    return {f"{name}[{index}]": source for name, sources in sides.items() for index, source in enumerate(sources or ())}


def _read_texts(config: TrainConfig, folder: Path) -> dict[str, ReadSource]:
    """Return what was read of the plain texts that are only measured, by field; they have a store of their own, in `folder`."""
    adaptation = config.adaptation
    sides = {} if adaptation is None else {GENERAL: adaptation.general_evaluation, DOMAIN: adaptation.domain_evaluation}
    named = {f"{name}[{index}]": source for name, sources in sides.items() for index, source in enumerate(sources or ())}
    if not named:
        return {}
    with RowWriter(folder) as writer:
        return _read_sources(named, reader_of(TaskName.LANGUAGE_MODELING), writer, {})


def _read_sources(named: Mapping[str, Source], task: Task[Any], writer: RowWriter, unlearned: dict[int, str]) -> dict[str, ReadSource]:
    """Return what was read of every source by its field, such as data.train[0]; local files are read first.

    Rows that are only measured are added to `unlearned`, by their place, with the reason.
    """
    read = {}
    for field, source in sorted(named.items(), key=lambda pair: pair[1].hugging_face is not None):
        start, findings = writer.count, list[str]()
        for example in read_source(field, source, task, findings):
            if why := task.unlearned(example):
                unlearned[writer.count] = why
            writer.append(example)
        read[field] = (np.arange(start, writer.count), findings)
    store = writer.store()
    return {field: ReadSource(store, *read[field]) for field in named}


def read_source(field: str, source: Source, task: Task[E], findings: list[str]) -> Iterator[E]:
    """Yield the examples of one source; its findings are added to `findings` once all are read."""
    empty = Empty()
    if source.hugging_face is not None:
        from trainer.hub.fetching import read_hub

        name = source.hugging_face.name
        folded, commit = read_hub(f"{field}.huggingFace", source.hugging_face)
        records = unfolded(field, folded, empty)
        if source.hugging_face.revision is None:
            findings.append(f"{field}: {name} was read at commit {commit}; give it as revision to read the same rows again")
    else:
        name = str(source.path)
        layout = task.layout(field, source.columns or Columns(), None)
        records = _read_files(field, source, list(layout.columns.values()), empty, findings)
    noticed = Noticed()
    yield from read_examples(field, records, task, source.columns, name, noticed, languages_of(field, source, task))
    findings += empty.findings(field)
    findings += map(whole_letters, noticed.findings(field))


def languages_of(field: str, source: Source, task: Task[Any]) -> Languages | None:
    """Return the languages of a source of translations; raises InputError where a task has no use for them."""
    if source.source_language is None or source.target_language is None:
        return None
    if not task.facts.translates:
        raise InputError(f"{field}.sourceLanguage", f"has no meaning for task {task.facts.name}", "remove it with targetLanguage")
    return source.source_language, source.target_language


def _read_files(field: str, source: Source, columns: list[str], empty: Empty, findings: list[str]) -> Iterator[Record]:
    files, said = files_of(field, path_of(field, source), source.format)
    findings += said
    for file in files:
        record, empty.file = None, file.label
        for record in read_file(field, file.path, source.format, columns, source.delimiter, empty):
            yield replace(record, file=file.label) if file.label else record
        if record is None and file.label:
            findings.append(f"{field}: {file.label} has no rows")


def _check_held_out(config: TrainConfig, dataset: Dataset) -> None:
    if config.regularization.early_stopping is not None and not dataset.validation:
        fix = "give data.validation or data.validationFraction"
        raise InputError("regularization.earlyStopping", "there are no validation rows to evaluate", fix)
