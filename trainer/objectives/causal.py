"""Next-token prediction: each token of a sample that has loss is predicted from the tokens before it.

Logits are computed only at positions whose next token has loss, and a few positions at a time where the model's output layer allows
that. Tests: tests/trainer/objectives/test_causal.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.data.rows import Sample
from trainer.objectives.base import Forward, LossSums, on_device
from trainer.objectives.documents import Documents
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.loss import loss_sums, nll_of_units, sums_each
from trainer.objectives.outputlayer import is_frozen, loss_of_hidden, nll_of_hidden, without_output_layer


@dataclass(frozen=True)
class CausalBatch:
    """Samples as rows padded on the right to one length, or packed: one row of all of them without padding.

    `positions` are those whose next token has loss in any row.
    """

    inputs: Mapping[str, Any]
    """Arguments of the model: `input_ids` (rows, length), and what says where samples end. Padding has id 0 and is masked by length:
    the pad id may be a real token."""
    positions: Tensor
    """(kept,); sorted positions at which logits are needed, never empty."""
    targets: Tensor
    """(units,); the tokens with loss."""
    places: Tensor
    """(units,); where the logits of each are in the flattened (rows, kept). Known before a GPU is: to find them there would wait for it."""
    units_each: tuple[int, ...]
    """How many of these tokens each sample has, in order."""
    tokens: int
    """Number of tokens, excluding padding."""

    @property
    def units(self) -> int:
        """Number of tokens with loss."""
        return len(self.targets)

    def to(self, device: torch.device) -> "CausalBatch":
        """Return the batch with its tensors on `device`."""
        return CausalBatch(
            {name: value.to(device) if isinstance(value, Documents) else on_device(value, device) for name, value in self.inputs.items()},
            on_device(self.positions, device),
            on_device(self.targets, device),
            on_device(self.places, device),
            self.units_each,
            self.tokens,
        )


class CausalObjective:
    """Next-token prediction with a causal language model."""

    family = CAUSAL_LM

    def redrawn(self, sample: Sample, epoch: int, seed: int) -> Sample:
        """Return the sample: its targets are always the same."""
        return sample

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> CausalBatch:
        """Pad or pack `samples`, at least one, into a batch. A sample's token i is the target of position i - 1."""
        return _packed(samples) if packed else _padded(samples)

    def loss(self, forward: Forward, batch: CausalBatch, label_smoothing: float = 0.0) -> LossSums:
        """Return the sums of one batch over its tokens with loss."""
        if forward.output_layer is not None and is_frozen(forward.output_layer):
            hidden = _hidden(forward, forward.output_layer, batch)
            return LossSums(*loss_of_hidden(hidden, forward.output_layer, batch.targets, label_smoothing))
        return loss_sums(_logits(forward, batch), batch.places, batch.targets, label_smoothing)

    def nll(self, forward: Forward, batch: CausalBatch) -> Tensor:
        """Return the negative log-likelihood of each sample's tokens with loss, in nats: (samples,), float64, on the CPU."""
        if forward.output_layer is not None:
            found = nll_of_hidden(_hidden(forward, forward.output_layer, batch), forward.output_layer, batch.targets)
        else:
            found = nll_of_units(_logits(forward, batch), batch.places, batch.targets)
        return sums_each(found, batch.units_each)


CAUSAL = CausalObjective()


def _padded(samples: Sequence[Sample]) -> CausalBatch:
    length = max(len(row.input_ids) for row in samples)
    input_ids = torch.zeros((len(samples), length), dtype=torch.long)
    attention_mask = torch.zeros((len(samples), length), dtype=torch.long)
    loss_mask = torch.zeros((len(samples), length), dtype=torch.bool)
    for index, row in enumerate(samples):
        size = len(row.input_ids)
        input_ids[index, :size] = torch.tensor(row.input_ids)
        attention_mask[index, :size] = 1
        loss_mask[index, : size - 1] = torch.tensor(row.loss_mask[1:], dtype=torch.bool)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    return _batch(inputs, loss_mask, units_each(samples), int(attention_mask.sum()))


def _packed(samples: Sequence[Sample]) -> CausalBatch:
    documents = Documents.of([len(row.input_ids) for row in samples])
    input_ids = torch.cat([torch.tensor(row.input_ids) for row in samples]).unsqueeze(0)
    # A document's last position has no next token: what follows there belongs to another document.
    loss = torch.cat([torch.tensor([*row.loss_mask[1:], False], dtype=torch.bool) for row in samples]).unsqueeze(0)
    return _batch(documents.inputs(input_ids), loss, units_each(samples), input_ids.numel())


def units_each(samples: Sequence[Sample]) -> tuple[int, ...]:
    """Return the number of tokens with loss of each sample."""
    return tuple(sum(row.loss_mask) for row in samples)


def _batch(inputs: Mapping[str, Any], loss_mask: Tensor, each: tuple[int, ...], tokens: int) -> CausalBatch:
    """Return the batch of these inputs; `loss_mask` (rows, length) says where the next token has loss."""
    positions = loss_mask.any(dim=0).nonzero().flatten()
    if positions.numel() == 0:
        positions = torch.zeros(1, dtype=torch.long)
    places = loss_mask[:, positions].flatten().nonzero().flatten()
    following = torch.roll(inputs["input_ids"], -1, dims=1)
    return CausalBatch(inputs, positions, following[:, positions].flatten()[places], places, each, tokens)


def _logits(forward: Forward, batch: CausalBatch) -> Tensor:
    """Return logits (rows, kept, vocabulary) at the batch's positions; models that support it skip the output layer elsewhere."""
    if "logits_to_keep" in forward.arguments:
        return forward.compute(**batch.inputs, use_cache=False, logits_to_keep=batch.positions)
    return forward.compute(**batch.inputs, use_cache=False)[:, batch.positions]


def _hidden(forward: Forward, layer: nn.Linear, batch: CausalBatch) -> Tensor:
    """Return what the output layer would read at the tokens with loss: (units, width)."""
    with without_output_layer(layer):
        hidden = _logits(forward, batch)
    return hidden.flatten(0, 1).index_select(0, batch.places)
