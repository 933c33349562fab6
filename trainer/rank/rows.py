"""The rows of a run as tokens, and the micro-batches that this rank takes from them at each step.

Test: tests/trainer/rank/test_rows.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.trainconfig import TrainConfig
from trainer.augmentation.augmenter import Augmenter
from trainer.data.rows import Dataset, Example, Piece, Sample
from trainer.data.sampler import batch_at
from trainer.engine.base import Engine
from trainer.objectives.base import Batch
from trainer.tasks.base import Task
from trainer.tasks.registry import task_of
from trainer.training.batches import deal


@dataclass(frozen=True)
class Rows:
    """All rows, tokenized once; a training row that augmentation changes is tokenized again when it is drawn."""

    train: Sequence[Piece[Any]]
    validation: Sequence[Sample]
    test: Sequence[Sample]

    @classmethod
    def of(cls, task: Task[Any], dataset: Dataset, tokenizer: Any, max_length: int) -> "Rows":
        """Tokenize all rows; of a text longer than `max_length` several are made."""

        def pieces(examples: Sequence[Example]) -> list[Piece[Any]]:
            return [piece for example in examples for piece in task.encode(example, tokenizer, max_length)]

        validation, test = ([piece.tokens for piece in pieces(rows)] for rows in (dataset.validation, dataset.test))
        return cls(pieces(dataset.train), validation, test)

    @property
    def longest(self) -> int:
        """Tokens of the longest training row."""
        return max(len(piece.tokens.input_ids) for piece in self.train)


@dataclass
class AugmentedWords:
    """Words of the training rows drawn so far, and how many of them augmentation changed; counted on this rank."""

    changed: int = 0
    seen: int = 0

    def add(self, changed: int, seen: int) -> None:
        """Count a row."""
        self.changed += changed
        self.seen += seen

    def to_state(self) -> list[int]:
        """Return what a checkpoint keeps."""
        return [self.changed, self.seen]

    def to_report(self) -> dict[str, float]:
        """Return what the report holds."""
        return {"wordsChanged": self.changed, "words": self.seen, "changedShare": self.changed / max(1, self.seen)}


class Batches:
    """This rank's micro-batches of a step: a function of the step, so that a resumed run sees the same."""

    def __init__(self, config: TrainConfig, pieces: Sequence[Piece[Any]], tokenizer: Any, engine: Engine, words: AugmentedWords) -> None:
        self._task = task_of(config.task)
        self._training, self._pieces, self._tokenizer, self._engine, self._words = config.training, pieces, tokenizer, engine, words
        self._augmenter = Augmenter(config.augmentation, config.training.seed) if config.augmentation else None

    def __call__(self, step: int) -> list[Batch]:
        """Return the micro-batches of a step."""
        places = batch_at(step, len(self._pieces), self._training.global_batch_size, self._training.seed)
        rows = [self._row(epoch, index) for epoch, index in places]
        dealt = deal(rows, self._engine.rank, self._engine.world_size, self._training.micro_batch_size)
        return [self._task.objective.collate(own) for own in dealt]

    def _row(self, epoch: int, index: int) -> Sample:
        piece = self._pieces[index]
        if self._augmenter is None:
            return piece.tokens
        length = self._training.max_sequence_length
        tokens, changed, seen = self._augmenter.sample(self._task, piece, epoch, self._tokenizer, length)
        self._words.add(changed, seen)
        return tokens
