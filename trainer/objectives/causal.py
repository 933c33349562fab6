"""Next-token prediction: each token of a sample that has loss is predicted from the tokens before it.

Logits are computed only at positions whose next token has loss, if the model supports that. Tests:
tests/trainer/objectives/test_causal.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.data.rows import Sample
from trainer.objectives.base import Forward, LossSums, on_device
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.loss import loss_sums, nll_sum


@dataclass(frozen=True)
class CausalBatch:
    """Rows padded on the right to one length. `positions` are those whose next token has loss in any row."""

    input_ids: Tensor
    """(rows, length); 0 on padding."""
    attention_mask: Tensor
    """(rows, length); 1 on tokens, 0 on padding, by length: the pad id may be a real token."""
    positions: Tensor
    """(kept,); sorted positions at which logits are needed, never empty."""
    targets: Tensor
    """(rows, kept); the token after each position."""
    loss_mask: Tensor
    """(rows, kept); True where that token has loss."""

    @property
    def units(self) -> int:
        """Number of tokens with loss."""
        return int(self.loss_mask.sum())

    @property
    def tokens(self) -> int:
        """Number of tokens, excluding padding."""
        return int(self.attention_mask.sum())

    def to(self, device: torch.device) -> "CausalBatch":
        """Return the batch with its tensors on `device`."""
        moved = (self.input_ids, self.attention_mask, self.positions, self.targets, self.loss_mask)
        return CausalBatch(*(on_device(tensor, device) for tensor in moved))


class CausalObjective:
    """Next-token prediction with a causal language model."""

    family = CAUSAL_LM

    def collate(self, samples: Sequence[Sample]) -> CausalBatch:
        """Pad `samples`, at least one, into a batch. A sample's token i is the target of position i - 1."""
        length = max(len(row.input_ids) for row in samples)
        input_ids = torch.zeros((len(samples), length), dtype=torch.long)
        attention_mask = torch.zeros((len(samples), length), dtype=torch.long)
        loss_mask = torch.zeros((len(samples), length), dtype=torch.bool)
        for index, row in enumerate(samples):
            size = len(row.input_ids)
            input_ids[index, :size] = torch.tensor(row.input_ids)
            attention_mask[index, :size] = 1
            loss_mask[index, : size - 1] = torch.tensor(row.loss_mask[1:], dtype=torch.bool)
        positions = loss_mask.any(dim=0).nonzero().flatten()
        if positions.numel() == 0:
            positions = torch.zeros(1, dtype=torch.long)
        targets = torch.roll(input_ids, -1, dims=1)
        return CausalBatch(input_ids, attention_mask, positions, targets[:, positions], loss_mask[:, positions])

    def loss(self, forward: Forward, batch: CausalBatch, label_smoothing: float = 0.0) -> LossSums:
        """Return the sums of one batch over its tokens with loss."""
        return loss_sums(_logits(forward, batch), batch.targets, batch.loss_mask, label_smoothing)

    def nll(self, forward: Forward, batch: CausalBatch) -> float:
        """Return the negative log-likelihood of the tokens with loss, in nats."""
        return nll_sum(_logits(forward, batch), batch.targets, batch.loss_mask)


CAUSAL = CausalObjective()


def _logits(forward: Forward, batch: CausalBatch) -> Tensor:
    """Return logits (rows, kept, vocabulary) at the batch's positions; models that support it skip the output layer elsewhere."""
    inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
    if "logits_to_keep" in forward.arguments:
        return forward.compute(**inputs, logits_to_keep=batch.positions)
    return forward.compute(**inputs)[:, batch.positions]
