"""The rows of a run as tokens on disk, and this rank's micro-batches of each step.

Test: tests/trainer/rank/test_rows.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.api.trainconfig import TrainConfig
from trainer.augmentation.augmenter import Augmenter
from trainer.augmentation.counts import AugmentedRows
from trainer.augmentation.rewritten import NONE, Rewritten
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
    rewritten: Rewritten = field(default_factory=dict)
    """What models wrote in place of training texts."""

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

    @property
    def longest_target(self) -> int:
        """Number of tokens of the longest target, of rows whose targets follow what is read."""
        shards = [self.train.shard, *([self.replay.shard] if self.replay is not None else [])]
        return max(int(shard.table["tail"].max(initial=0)) for shard in shards)

    def per_epoch(self, config: TrainConfig) -> int:
        """Return how many rows an epoch draws."""
        return epoch_rows(len(self.train), config, replays=self.replay is not None)


def order_for(config: TrainConfig, train: Pieces, replay: Pieces | None) -> Order:
    """Return the order in which a job trains on its rows, with those that it replays among them."""
    adaptation, versions = config.adaptation, config.augmentation.row_versions if config.augmentation else 1
    if replay is None or adaptation is None or adaptation.replay is None:
        return order_of(config.training, train.samples, versions=versions)
    return order_of(config.training, train.samples, replay.samples, adaptation.replay.share, versions=versions)


@dataclass(frozen=True)
class PreparedStep:
    """What this rank computes in a step, and what was varied for it on all ranks, which counts once the step is taken."""

    batches: StepBatches[Batch]
    varied: AugmentedRows


@dataclass(frozen=True)
class Draw:
    """A row that a step trains on."""

    epoch: int
    index: int
    """Of the training rows, and after them the replayed ones."""
    version: int
    """0: the row, or what stands in its place; else one of its copies."""


class Batches:
    """This rank's micro-batches of a step: a function of the step, so that a resumed run sees the same.

    All ranks must make one. It may work in a thread of its own: what ranks exchange goes through a channel for it alone.
    """

    def __init__(
        self, task: Task[Any], config: TrainConfig, pieces: Pieces, tokenizer: Any, engine: Engine, *, packed: bool = False,
        replay: Pieces | None = None, rewritten: Rewritten = NONE,
    ) -> None:  # fmt: skip
        self._task = task
        self._training, self._pieces, self._tokenizer, self._engine = config.training, pieces, tokenizer, engine
        self._replay = replay
        self._packed, self._deal = packed, deal_packed if packed else deal
        self._versions = config.augmentation.row_versions if config.augmentation else 1
        self._order = order_for(config, pieces, replay)
        self._augmenter = Augmenter(config.augmentation, config.training.seed, rewritten) if config.augmentation else None
        self._ranks = engine.ranks_aside() if self._augmenter is not None else None

    def prepare(self, step: int) -> PreparedStep:
        """Return what this rank computes in a step. With augmentation ranks exchange lengths, so all must call it, in order of steps."""
        training, engine = self._training, self._engine
        drawn = self._drawn(step)
        share = self._share(drawn)
        keys, units, varied = self._keys(drawn, share)
        own = self._deal(keys, engine.rank, engine.world_size, training.micro_batch_size)
        micro_batches = [
            self._task.objective.collate(
                [(share[place] if place in share else self._row(drawn[place]))[0] for place in places], packed=self._packed
            )
            for places in own
        ]
        return PreparedStep(StepBatches(micro_batches, units, tokens=sum(length for length, _ in keys)), varied)

    def _drawn(self, step: int) -> list[Draw]:
        found, rows = [], len(self._pieces)
        for epoch, number in self._order.batch(step):
            version, index = divmod(number, rows)
            # Replayed rows are numbered after all versions of the training rows, and have no versions.
            found.append(Draw(epoch, index, version) if version < self._versions else Draw(epoch, number - rows * (self._versions - 1), 0))
        return found

    def _share(self, drawn: Sequence[Draw]) -> dict[int, tuple[Sample, AugmentedRows]]:
        """Return the rows that this rank varies before it is known which rank trains them, by place; none without augmentation.

        Kept for the step, at most one `world_size`-th of its rows: those that this rank trains are not varied and tokenized again.
        """
        if self._augmenter is None:
            return {}
        return {place: self._row(drawn[place]) for place in range(self._engine.rank, len(drawn), self._engine.world_size)}

    def _keys(
        self, drawn: Sequence[Draw], share: Mapping[int, tuple[Sample, AugmentedRows]]
    ) -> tuple[list[tuple[int, str]], int, AugmentedRows]:
        """Return length and id of each row of a step, which decide how the rows are dealt, and what all of them have:
        tokens with loss, and words that were varied.

        A varied row's tokens are known only once it is tokenized, so all ranks exchange the counts of their shares.
        """
        lines = self._lines([draw.index for draw in drawn])
        names = [name.decode() for name in lines["id"].tolist()]
        if self._ranks is None:
            units = int(lines["loss_tokens"].sum(dtype=np.int64))
            return list(zip(lines["length"].tolist(), names, strict=True)), units, AugmentedRows()
        lengths, units, counts = [0.0] * len(drawn), 0, AugmentedRows()
        for place, (sample, varied) in share.items():
            lengths[place] = len(sample.input_ids)
            units += sum(sample.loss_mask)
            counts.add(varied)
        known = list(map(int, self._ranks.sums([*lengths, units, *counts.to_state()])))
        return list(zip(known, names, strict=False)), known[len(drawn)], AugmentedRows.from_state(known[len(drawn) + 1 :])

    def _lines(self, drawn: Sequence[int]) -> NDArray[Any]:
        """Return the lines of the shards' tables of these rows; replayed rows are numbered after the training rows."""
        places, own = np.array(drawn, np.int64), len(self._pieces)
        if self._replay is None:
            return np.asarray(self._pieces.shard.table[places])
        lines = np.empty(len(places), LINE)
        for shard, chosen, first in ((self._pieces.shard, places < own, 0), (self._replay.shard, places >= own, own)):
            lines[chosen] = shard.table[places[chosen] - first]
        return lines

    def _row(self, draw: Draw) -> tuple[Sample, AugmentedRows]:
        """Return a training row as a step learns it, and what was varied in it."""
        sample, varied = self._varied(draw)
        # Copies are drawn anew, as an epoch is.
        return self._task.objective.redrawn(sample, draw.epoch * self._versions + draw.version, self._training.seed), varied

    def _varied(self, draw: Draw) -> tuple[Sample, AugmentedRows]:
        if self._replay is not None and draw.index >= len(self._pieces):
            return self._replay.shard.sample(draw.index - len(self._pieces)), AugmentedRows()
        if self._augmenter is None:
            return self._pieces.shard.sample(draw.index), AugmentedRows()
        length = self._training.max_sequence_length
        return self._augmenter.sample(self._task, self._pieces[draw.index], draw.epoch, draw.version, self._tokenizer, length)
