"""Tokenizes all rows of a run, once: what an earlier start has written of the same rows in the same way is taken from there.

A shard is known by a digest of everything its tokens depend on: the rows to the letter, the tokenizer with its chat template, the
libraries that apply it, the time that a template shows, the task and the largest length. Tests: tests/trainer/preflight/test_tokens.py.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.trainconfig import TrainConfig
from trainer.data.datafolder import DataFolder
from trainer.data.rows import Dataset, Example, Piece
from trainer.data.rowstore import digest_of
from trainer.data.sampled import Keep
from trainer.data.shards import FORMAT, Pieces, Shard, TornShardError, write_shard
from trainer.tasks.base import Task
from trainer.tasks.registry import task_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokens:
    """The tokens of all rows, on disk."""

    train: Shard
    validation: Shard
    test: Shard
    found: tuple[str, ...] = ()
    """The sets that an earlier start had tokenized, such as data.train."""


def write_tokens(config: TrainConfig, dataset: Dataset, tokenizer: Any, data: DataFolder, template_time: str | None = None) -> Tokens:
    """Return the tokens of all rows; those that are not there yet are written, in the folder of this run's data.

    `template_time` is what the chat template shows for now, None where it reads no clock.
    """
    task, length, keys = task_of(config.task), config.training.max_sequence_length, shard_keys(config, dataset, tokenizer, template_time)
    sets = {"data.train": dataset.train, "data.validation": dataset.validation, "data.test": dataset.test}
    shards = {name: found for name, key in keys.items() if (found := find_shard(data, key)) is not None}
    known = tuple(name for name in shards if sets[name] and keys[name] not in data.begun)
    if known:
        logger.info("the tokens of %s are those that an earlier start has written", ", ".join(known))
    for name, key in keys.items():
        if name not in shards:
            shards[name] = write(data, key, tokenized(task, sets[name], tokenizer, length))
    data.forget_all_but(set(keys.values()))
    return Tokens(*shards_in_order(shards), found=known)


def on_disk(config: TrainConfig, dataset: Dataset, tokenizer: Any, data: DataFolder, template_time: str | None) -> Keep:
    """Return a keeper of pieces that writes them into shards, where `write_tokens` finds them."""
    keys = shard_keys(config, dataset, tokenizer, template_time)

    def keep(name: str, examples: Sequence[Any], pieces: Iterable[Piece[Any]]) -> Pieces:
        shard = find_shard(data, keys[name])
        if shard is None:
            return Pieces(write(data, keys[name], enumerate(pieces)), examples)
        for _ in pieces:  # they are looked at while they are made
            pass
        return Pieces(shard, examples)

    return keep


def write(data: DataFolder, key: str, pieces: Iterable[tuple[int, Piece[Any]]]) -> Shard:
    """Write and publish a shard."""
    with data.stage(key) as staged:
        write_shard(staged.folder, key, pieces)
        staged.publish()
    return Shard.open(data.folder_of(key), key)


def shards_in_order(shards: dict[str, Shard]) -> tuple[Shard, Shard, Shard]:
    """Return the shards of the three sets."""
    return shards["data.train"], shards["data.validation"], shards["data.test"]


def find_shard(data: DataFolder, key: str) -> Shard | None:
    """Return the shard of a key, None where there is none or a torn one, which is written again."""
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
    """Return the sets, other than empty ones, whose tokens an earlier start has left; whether they are whole shows when they are read."""
    keys = shard_keys(config, dataset, tokenizer, template_time)
    sets = {"data.train": dataset.train, "data.validation": dataset.validation, "data.test": dataset.test}
    return tuple(name for name, key in keys.items() if sets[name] and key not in data.begun and data.find(key) is not None)


def tokenized(task: Task[Any], examples: Sequence[Example], tokenizer: Any, max_length: int) -> Iterator[tuple[int, Piece[Any]]]:
    """Yield the pieces of all rows, each with the index of its example."""
    for row, example in enumerate(examples):
        for piece in task.encode(example, tokenizer, max_length):
            yield row, piece


def shard_keys(config: TrainConfig, dataset: Dataset, tokenizer: Any, template_time: str | None = None) -> dict[str, str]:
    """Return the name of the shard of each set."""
    way = [FORMAT, config.task, config.training.max_sequence_length, template_time, tokenizer_digest(tokenizer)]
    sets = {"data.train": dataset.train, "data.validation": dataset.validation, "data.test": dataset.test}
    return {name: f"tokens-{hashlib.sha256(json.dumps([*way, digest_of(rows)]).encode()).hexdigest()[:32]}" for name, rows in sets.items()}


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the digest of all that decides which tokens a text or a conversation has."""
    import tokenizers
    import transformers

    if tokenizer.is_fast:
        words = tokenizer.backend_tokenizer.to_str()
    else:
        words = json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), repr(sorted(tokenizer.init_kwargs.items()))])
    settings = [
        tokenizers.__version__, transformers.__version__, repr(getattr(tokenizer, "chat_template", None)),
        sorted((name, str(token)) for name, token in tokenizer.special_tokens_map.items()),
        sorted((number, repr(token)) for number, token in tokenizer.added_tokens_decoder.items()),
    ]  # fmt: skip
    return hashlib.sha256(f"{words}\n{json.dumps(settings)}".encode()).hexdigest()
