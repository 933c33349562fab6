"""Tokenizes all rows of a run once: tokens that an earlier start wrote for the same rows and settings are reused.

shardkeys.py names a shard by everything that its tokens depend on. Tests: tests/trainer/preflight/test_tokens.py.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.api.adaptation import DOMAIN, GENERAL, REPLAY
from finetune.api.trainconfig import TrainConfig
from trainer.data.datafolder import DataFolder
from trainer.data.rows import Dataset, Example, Piece
from trainer.data.sampled import Keep
from trainer.data.shards import Pieces, Shard, TornShardError, write_shard
from trainer.preflight.sides import task_on
from trainer.tasks.base import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokens:
    """The shards of the data sets."""

    train: Shard
    validation: Shard
    test: Shard
    replay: Shard | None = None
    general: Shard | None = None
    domain: Shard | None = None


def write_tokens(
    task: Task[Any], config: TrainConfig, dataset: Dataset, tokenizer: Any, data: DataFolder, keys: Mapping[str, str]
) -> Tokens:
    """Return the tokens of all rows; missing ones are written to the run's data folder. `keys` are those of `shard_keys`."""
    length, sides = config.training.max_sequence_length, dataset.sides()
    shards = {
        name: find_shard(data, key) or write(data, key, tokenized(task_on(task, name), sides[name], tokenizer, length))
        for name, key in keys.items()
    }
    if config.derived is None:  # others have their tokens beside those of the job's own run
        data.forget_all_but(set(keys.values()))
    train, validation, test = (shards[f"data.{name}"] for name in ("train", "validation", "test"))
    return Tokens(train, validation, test, *(shards.get(name) for name in (REPLAY, GENERAL, DOMAIN)))


def on_disk(data: DataFolder, keys: Mapping[str, str]) -> Keep:
    """Return a `Keep` that writes pieces into shards, where `write_tokens` finds them; what an earlier start wrote is not made again."""

    def keep(name: str, examples: Sequence[Any], pieces: Iterable[Piece[Any]]) -> Pieces:
        shard = find_shard(data, keys[name])
        return Pieces(shard if shard is not None else write(data, keys[name], enumerate(pieces)), examples)

    return keep


def write(data: DataFolder, key: str, pieces: Iterable[tuple[int, Piece[Any]]]) -> Shard:
    """Write a shard, publish it under its key, and open it."""
    with data.stage(key) as staged:
        write_shard(staged.folder, key, pieces)
        staged.publish()
    return _opened(data, data.folder_of(key), key)


def find_shard(data: DataFolder, key: str) -> Shard | None:
    """Return the shard with this key; None if there is none, or a torn one, which is written again."""
    folder = data.find(key)
    if folder is None:
        return None
    try:
        return _opened(data, folder, key)
    except TornShardError as error:
        logger.warning("%s; the rows are tokenized again", error)
        return None


def _opened(data: DataFolder, folder: Path, key: str) -> Shard:
    """Return a shard, of which every byte is read once in a start."""
    shard = Shard.open(folder, key, read=key not in data.intact)
    data.intact.add(key)
    return shard


def found_earlier(dataset: Dataset, data: DataFolder, keys: Mapping[str, str]) -> tuple[str, ...]:
    """Return the non-empty data sets whose tokens an earlier start left, such as data.train.

    Of tokens that were not read yet only the sizes are looked at: `write_tokens` reads them, and writes torn ones again.
    """
    return tuple(name for name, rows in dataset.sides().items() if rows and keys[name] not in data.begun and _is_there(data, keys[name]))


def _is_there(data: DataFolder, key: str) -> bool:
    folder = data.find(key)
    try:
        return folder is not None and Shard.open(folder, key, read=False) is not None
    except TornShardError:
        return False


def tokenized(task: Task[Any], examples: Sequence[Example], tokenizer: Any, max_length: int) -> Iterator[tuple[int, Piece[Any]]]:
    """Yield the pieces of all rows, each with the index of its example."""
    for row, pieces in enumerate(task.encode_all(examples, tokenizer, max_length)):
        for piece in pieces:
            yield row, piece
