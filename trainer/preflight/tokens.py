"""Tokenizes all rows of a run once: tokens that an earlier start wrote for the same rows and settings are reused.

shardkeys.py names a shard by everything that its tokens depend on. Tests: tests/trainer/preflight/test_tokens.py.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.trainconfig import TrainConfig
from trainer.data.datafolder import DataFolder
from trainer.data.rows import Dataset, Example, Piece
from trainer.data.sampled import Keep
from trainer.data.shards import Pieces, Shard, TornShardError, write_shard
from trainer.preflight.shardkeys import shard_keys
from trainer.tasks.base import Task
from trainer.tasks.registry import task_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokens:
    """The shards of the three data sets."""

    train: Shard
    validation: Shard
    test: Shard
    found: tuple[str, ...] = ()
    """The data sets that an earlier start tokenized, such as data.train."""


def write_tokens(config: TrainConfig, dataset: Dataset, tokenizer: Any, data: DataFolder, template_time: str | None = None) -> Tokens:
    """Return the tokens of all rows; missing ones are written to the run's data folder.

    `template_time` is the chat template's fixed current time; None if it reads no clock.
    """
    task, length, keys = task_of(config.task), config.training.max_sequence_length, shard_keys(config, dataset, tokenizer, template_time)
    sets = {"data.train": dataset.train, "data.validation": dataset.validation, "data.test": dataset.test}
    shards = {name: found for name, key in keys.items() if (found := find_shard(data, key)) is not None}
    known = tuple(name for name in shards if sets[name] and keys[name] not in data.begun)
    if known:
        logger.info("the tokens of %s are reused from an earlier start", ", ".join(known))
    for name, key in keys.items():
        if name not in shards:
            shards[name] = write(data, key, tokenized(task, sets[name], tokenizer, length))
    data.forget_all_but(set(keys.values()))
    return Tokens(*shards_in_order(shards), found=known)


def on_disk(config: TrainConfig, dataset: Dataset, tokenizer: Any, data: DataFolder, template_time: str | None) -> Keep:
    """Return a `Keep` that writes pieces into shards, where `write_tokens` finds them; what an earlier start wrote is not made again."""
    keys = shard_keys(config, dataset, tokenizer, template_time)

    def keep(name: str, examples: Sequence[Any], pieces: Iterable[Piece[Any]]) -> Pieces:
        shard = find_shard(data, keys[name])
        return Pieces(shard if shard is not None else write(data, keys[name], enumerate(pieces)), examples)

    return keep


def write(data: DataFolder, key: str, pieces: Iterable[tuple[int, Piece[Any]]]) -> Shard:
    """Write a shard, publish it under its key, and open it."""
    with data.stage(key) as staged:
        write_shard(staged.folder, key, pieces)
        staged.publish()
    return Shard.open(data.folder_of(key), key)


def shards_in_order(shards: dict[str, Shard]) -> tuple[Shard, Shard, Shard]:
    """Return the shards of train, validation and test."""
    return shards["data.train"], shards["data.validation"], shards["data.test"]


def find_shard(data: DataFolder, key: str) -> Shard | None:
    """Return the shard with this key; None if there is none, or a torn one, which is written again."""
    folder = data.find(key)
    if folder is None:
        return None
    try:
        return Shard.open(folder, key)
    except TornShardError as error:
        logger.warning("%s; the rows are tokenized again", error)
        return None


def found_earlier(
    config: TrainConfig, dataset: Dataset, tokenizer: Any, data: DataFolder, template_time: str | None = None
) -> tuple[str, ...]:
    """Return the non-empty data sets whose tokens an earlier start left; reading them later shows whether they are intact."""
    keys = shard_keys(config, dataset, tokenizer, template_time)
    sets = {"data.train": dataset.train, "data.validation": dataset.validation, "data.test": dataset.test}
    return tuple(name for name, key in keys.items() if sets[name] and key not in data.begun and data.find(key) is not None)


def tokenized(task: Task[Any], examples: Sequence[Example], tokenizer: Any, max_length: int) -> Iterator[tuple[int, Piece[Any]]]:
    """Yield the pieces of all rows, each with the index of its example."""
    for row, pieces in enumerate(task.encode_all(examples, tokenizer, max_length)):
        for piece in pieces:
            yield row, piece
