"""Names a data set's tokens by everything that they depend on, so that only tokens which would be made again are reused.

That is: the exact rows, the tokenizer with its chat template, the libraries that apply it, the trainer's own code between row
and tokens, the time that a template shows, the task and the maximum length. Tests: tests/trainer/preflight/test_shardkeys.py.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import trainer
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset
from trainer.data.rowstore import digest_of
from trainer.data.shards import FORMAT
from trainer.preflight.sides import LEARNED, task_on
from trainer.tasks.base import Task

ENCODING_ROOMS = ("chat", "data", "tasks", "text")
"""Packages of the trainer that turn rows into tokens. All of their code counts: to tokenize again takes minutes."""


def shard_keys(task: Task[Any], config: TrainConfig, dataset: Dataset, tokenizer: Any, template_time: str | None = None) -> dict[str, str]:
    """Return the key of each data set's shard, by the data set's field, such as data.train.

    `template_time` is the chat template's fixed current time; None if it reads no clock.
    """
    length = config.training.max_sequence_length
    code, words = code_digest(), tokenizer_digest(tokenizer)

    def way(side: str) -> list[Any]:
        on = task_on(task, side)
        return [FORMAT, code, on.facts.name, on.family, on.known, length, template_time, words, side in LEARNED]

    parts = {name: json.dumps([*way(name), digest_of(rows)]) for name, rows in dataset.sides().items()}
    return {name: f"tokens-{hashlib.sha256(part.encode()).hexdigest()[:32]}" for name, part in parts.items()}


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the digest of the trainer's code that turns rows into tokens."""
    return digest_of_code(Path(trainer.__file__).parent)


def digest_of_code(root: Path, rooms: Sequence[str] = ENCODING_ROOMS) -> str:
    """Return the digest of the Python files of some packages below a folder."""
    found = hashlib.sha256()
    for path in sorted(file for room in rooms for file in (root / room).rglob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the digest of everything about a tokenizer that affects the tokens of a text or conversation."""
    import tokenizers
    import transformers

    settings = [
        tokenizers.__version__, transformers.__version__, type(tokenizer).__name__, repr(getattr(tokenizer, "chat_template", None)),
        getattr(tokenizer, "split_special_tokens", None),
        sorted((name, str(token)) for name, token in tokenizer.special_tokens_map.items()),
        sorted((number, repr(token)) for number, token in tokenizer.added_tokens_decoder.items()),
    ]  # fmt: skip
    return hashlib.sha256(f"{_words(tokenizer)}\n{json.dumps(settings)}".encode()).hexdigest()


def _words(tokenizer: Any) -> str:
    """Return the vocabulary, and how texts are cut into its entries."""
    if not tokenizer.is_fast:
        return json.dumps(
            [sorted(tokenizer.get_vocab().items()), repr(sorted(tokenizer.init_kwargs.items())), _vocabulary_files(tokenizer)]
        )
    # Each call sets both, so they are what the last call wanted; before the first call, what the tokenizer's file says.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return str(tokenizer.backend_tokenizer.to_str())


def _vocabulary_files(tokenizer: Any) -> list[str]:
    """Return the digests of the files that a tokenizer written in Python saves: its vocabulary does not show merges or scores."""
    with tempfile.TemporaryDirectory(prefix="finetune-vocabulary-") as folder:
        try:
            written = tokenizer.save_vocabulary(folder)
        except NotImplementedError:
            return []
        return [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in written or ()]
