"""The rows of a run as tokens on disk, and this rank's micro-batches of each step.

Test: tests/trainer/rank/test_rows.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.api.trainconfig import TrainConfig
from trainer.augmentation.augmenter import Augmenter
from trainer.data.rows import Dataset, Sample
from trainer.data.sampler import Order, order_of
from trainer.data.shards import LINE, Pieces, Samples
from trainer.engine.base import Engine
from trainer.objectives.base import Batch
from trainer.preflight.adapting import epoch_rows
from trainer.preflight.tokens import Tokens
from trainer.tasks.base import Task
from trainer.training.batches import deal, deal_packed
from trainer.training.loop import StepBatches


@dataclass(frozen=True)
class Rows:
    """All rows, already tokenized; a training row that augmentation changes is tokenized again when it is drawn."""

    train: Pieces
    validation: Sequence[Sample]
    test: Sequence[Sample]
    replay: Pieces | None = None
    """Rows of another domain that are trained along, never varied."""
    general: Sequence[Sample] = ()
    domain: Sequence[Sample] = ()

    @classmethod
    def of(cls, dataset: Dataset, tokens: Tokens) -> "Rows":
        """Combine a data set with its tokens on disk."""
        replay = Pieces(tokens.replay, dataset.replay) if tokens.replay is not None else None
        general, domain = (Samples(shard) if shard is not None else () for shard in (tokens.general, tokens.domain))
        return cls(Pieces(tokens.train, dataset.train), Samples(tokens.validation), Samples(tokens.test), replay, general, domain)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest row that is trained on."""
        return max(self.train.shard.longest, self.replay.shard.longest if self.replay is not None else 0)

    def per_epoch(self, config: TrainConfig) -> int:
        """Return how many rows an epoch draws."""
        return epoch_rows(len(self.train), config, replays=self.replay is not None)


def order_for(config: TrainConfig, train: Pieces, replay: Pieces | None) -> Order:
    """Return the order in which a job trains on its rows, with those that it replays among them."""
    adaptation = config.domain_adaptation
    if replay is None or adaptation is None or adaptation.replay is None:
        return order_of(config.training, train.samples)
    return order_of(config.training, train.samples, replay.samples, adaptation.replay.share)


@dataclass
class AugmentedWords:
    """Number of words drawn so far, and of those that augmentation changed; over all ranks."""

    changed: int = 0
    seen: int = 0

    def add(self, more: "AugmentedWords") -> None:
        """Add the counts of a step."""
        self.changed += more.changed
        self.seen += more.seen

    def to_state(self) -> list[int]:
        """Return the counts as a checkpoint stores them."""
        return [self.changed, self.seen]

    def to_report(self) -> dict[str, float]:
        """Return the counts and the changed share (0 to 1) as in report.json."""
        return {"wordsChanged": self.changed, "words": self.seen, "changedShare": self.changed / max(1, self.seen)}


@dataclass(frozen=True)
class PreparedStep:
    """What this rank computes in a step, and the words that all ranks draw in it, which count once the step is taken."""

    batches: StepBatches[Batch]
    words: AugmentedWords


class Batches:
    """This rank's micro-batches of a step: a function of the step, so that a resumed run sees the same.

    All ranks must make one. It may work in a thread of its own: what ranks exchange goes through a channel for it alone.
    """

    def __init__(
        self, task: Task[Any], config: TrainConfig, pieces: Pieces, tokenizer: Any, engine: Engine, *, packed: bool = False,
        replay: Pieces | None = None,
    ) -> None:  # fmt: skip
        self._task = task
        self._training, self._pieces, self._tokenizer, self._engine = config.training, pieces, tokenizer, engine
        self._replay = replay
        self._packed, self._deal = packed, deal_packed if packed else deal
        self._order = order_for(config, pieces, replay)
        self._augmenter = Augmenter(config.augmentation, config.training.seed) if config.augmentation else None
        self._ranks = engine.ranks_aside() if self._augmenter is not None else None

    def prepare(self, step: int) -> PreparedStep:
        """Return what this rank computes in a step. With augmentation ranks exchange lengths, so all must call it, in order of steps."""
        training, engine = self._training, self._engine
        drawn = self._order.batch(step)
        share = self._share(drawn)
        keys, units, words = self._keys(drawn, share)
        own = self._deal(keys, engine.rank, engine.world_size, training.micro_batch_size)
        micro_batches = [
            self._task.objective.collate(
                [(share[place] if place in share else self._row(*drawn[place]))[0] for place in places], packed=self._packed
            )
            for places in own
        ]
        return PreparedStep(StepBatches(micro_batches, units, tokens=sum(length for length, _ in keys)), words)

    def _share(self, drawn: Sequence[tuple[int, int]]) -> dict[int, tuple[Sample, int, int]]:
        """Return the rows that this rank varies before it is known which rank trains them, by place; none without augmentation.

        Kept for the step, at most one `world_size`-th of its rows: those that this rank trains are not varied and tokenized again.
        """
        if self._augmenter is None:
            return {}
        return {place: self._row(*drawn[place]) for place in range(self._engine.rank, len(drawn), self._engine.world_size)}

    def _keys(
        self, drawn: Sequence[tuple[int, int]], share: Mapping[int, tuple[Sample, int, int]]
    ) -> tuple[list[tuple[int, str]], int, AugmentedWords]:
        """Return length and id of each row of a step, which decide how the rows are dealt, and the tokens with loss and words of all.

        A varied row's tokens are known only once it is tokenized, so all ranks exchange the counts of their shares.
        """
        lines = self._lines([index for _, index in drawn])
        names = [name.decode() for name in lines["id"].tolist()]
        if self._ranks is None:
            units = int(lines["loss_tokens"].sum(dtype=np.int64))
            return list(zip(lines["length"].tolist(), names, strict=True)), units, AugmentedWords()
        known = [0.0] * (len(drawn) + 3)
        for place, (sample, changed, seen) in share.items():
            known[place] = len(sample.input_ids)
            known[-3] += sum(sample.loss_mask)
            known[-2] += changed
            known[-1] += seen
        *lengths, units, changed_words, seen_words = map(int, self._ranks.sums(known))
        return list(zip(lengths, names, strict=True)), units, AugmentedWords(changed_words, seen_words)

    def _lines(self, drawn: Sequence[int]) -> NDArray[Any]:
        """Return the lines of the shards' tables of these rows; replayed rows are numbered after the training rows."""
        places, own = np.array(drawn, np.int64), len(self._pieces)
        if self._replay is None:
            return np.asarray(self._pieces.shard.table[places])
        lines = np.empty(len(places), LINE)
        for shard, chosen, first in ((self._pieces.shard, places < own, 0), (self._replay.shard, places >= own, own)):
            lines[chosen] = shard.table[places[chosen] - first]
        return lines

    def _row(self, epoch: int, index: int) -> tuple[Sample, int, int]:
        """Return a training row in an epoch, the number of its words that were changed, and the number of its words."""
        sample, changed, seen = self._varied(epoch, index)
        return self._task.objective.redrawn(sample, epoch, self._training.seed), changed, seen

    def _varied(self, epoch: int, index: int) -> tuple[Sample, int, int]:
        if self._replay is not None and index >= len(self._pieces):
            return self._replay.shard.sample(index - len(self._pieces)), 0, 0
        if self._augmenter is None:
            return self._pieces.shard.sample(index), 0, 0
        length = self._training.max_sequence_length
        return self._augmenter.sample(self._task, self._pieces[index], epoch, self._tokenizer, length)
