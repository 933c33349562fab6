"""From tokenized rows to the micro-batches of one rank: who computes which row, and the tensors that it becomes.

Rows of a step are sorted by length before they are dealt to the ranks, so that a micro-batch holds little padding and the
ranks are done at about the same time. Neither changes the loss. Test: tests/trainer/training/test_batches.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.data.rows import Sample


@dataclass(frozen=True)
class MicroBatch:
    """Rows padded on the right to one length. `positions` are those whose next token bears loss in any row."""

    input_ids: Tensor
    """(rows, length)"""
    attention_mask: Tensor
    """(rows, length); 1 on tokens, 0 on padding, by length: the pad id may be a real token."""
    positions: Tensor
    """(kept,) sorted positions at which logits are needed; never empty."""
    targets: Tensor
    """(rows, kept) the token after each position"""
    bears_loss: Tensor
    """(rows, kept)"""

    @property
    def loss_tokens(self) -> int:
        """Number of loss-bearing tokens."""
        return int(self.bears_loss.sum())

    def to(self, device: torch.device) -> "MicroBatch":
        """Return the micro-batch on `device`."""
        return MicroBatch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.positions.to(device),
            self.targets.to(device),
            self.bears_loss.to(device),
        )


def collate(rows: Sequence[Sample]) -> MicroBatch:
    """Return the tensors of at least one row. A row's token i is the target of position i - 1."""
    length = max(len(row.input_ids) for row in rows)
    input_ids = torch.zeros((len(rows), length), dtype=torch.long)
    attention_mask = torch.zeros((len(rows), length), dtype=torch.long)
    bears_loss = torch.zeros((len(rows), length), dtype=torch.bool)
    for index, row in enumerate(rows):
        size = len(row.input_ids)
        input_ids[index, :size] = torch.tensor(row.input_ids)
        attention_mask[index, :size] = 1
        bears_loss[index, : size - 1] = torch.tensor(row.loss_mask[1:], dtype=torch.bool)
    positions = bears_loss.any(dim=0).nonzero().flatten()
    if positions.numel() == 0:
        positions = torch.zeros(1, dtype=torch.long)
    targets = torch.roll(input_ids, -1, dims=1)
    return MicroBatch(input_ids, attention_mask, positions, targets[:, positions], bears_loss[:, positions])


def deal(rows: Sequence[Sample], rank: int, world_size: int, micro_batch_size: int) -> list[MicroBatch]:
    """Return rank `rank`'s micro-batches of a step; every rank gets as many. len(rows) is a multiple of world_size."""
    by_length = sorted(rows, key=lambda row: (len(row.input_ids), row.id))
    own = by_length[rank::world_size]
    return [collate(own[start : start + micro_batch_size]) for start in range(0, len(own), micro_batch_size)]


def deal_evaluation(
    rows: Sequence[Sample], rank: int, world_size: int, batch_size: int, tokens_at_once: int | None = None
) -> list[list[Sample] | None]:
    """Return rank `rank`'s batches of an evaluation over all rows; None stands for a turn without rows.

    A batch holds at most `batch_size` rows and, padding included, `tokens_at_once` tokens, but always one row.
    Every rank gets as many turns, because a sharded model's forward needs all ranks each time.
    """
    by_length = sorted(rows, key=lambda row: (len(row.input_ids), row.id))
    batches: list[list[Sample]] = []
    for row in by_length:
        size = len(batches[-1]) + 1 if batches else 0
        fits = tokens_at_once is None or size * len(row.input_ids) <= tokens_at_once
        if batches and size <= batch_size and fits:
            batches[-1].append(row)
        else:
            batches.append([row])
    turns = -(-len(batches) // world_size)
    own: list[list[Sample] | None] = list(batches[rank::world_size])
    return own + [None] * (turns - len(own))


def model_inputs(batch: MicroBatch, *, keeps_positions: bool) -> dict[str, Any]:
    """Return the model's keyword arguments; `keeps_positions`: it can compute logits at chosen positions only."""
    inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
    if keeps_positions:
        inputs["logits_to_keep"] = batch.positions
    return inputs
