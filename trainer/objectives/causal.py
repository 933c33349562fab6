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
from trainer.objectives.base import FixedTargets, Forward, LossSums
from trainer.objectives.documents import Documents
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.loss import TokenBatch, chosen_logits, loss_sums, nll_of_units, sums_each
from trainer.objectives.outputlayer import loss_of_hidden, nll_of_hidden, without_output_layer
from trainer.objectives.penalties import NO_PENALTIES, Penalties
from trainer.objectives.reading import padded


@dataclass(frozen=True)
class CausalBatch(TokenBatch):
    """Samples as rows padded on the right to one length, or packed: one row of all of them without padding.

    `positions` are those whose next token has loss in any row; logits are computed nowhere else.
    """

    inputs: Mapping[str, Any]
    """Arguments of the model: `input_ids` (rows, length), and what says where samples end."""
    positions: Tensor
    """(kept,); sorted positions at which logits are needed, never empty."""


class CausalObjective(FixedTargets):
    """Next-token prediction with a causal language model."""

    family = CAUSAL_LM

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> CausalBatch:
        """Pad or pack `samples`, at least one, into a batch. A sample's token i is the target of position i - 1."""
        return _packed(samples) if packed else _padded(samples)

    def loss(self, forward: Forward, batch: CausalBatch, penalties: Penalties = NO_PENALTIES) -> LossSums:
        """Return the sums of one batch over its tokens with loss."""
        layer = forward.chunked_layer
        if layer is not None:  # that of the base model too
            base = penalties.of_base(lambda: _hidden(forward, layer, batch))
            return LossSums(*loss_of_hidden(_hidden(forward, layer, batch), layer, batch.targets, penalties, base))
        base = penalties.of_base(lambda: chosen_logits(_logits(forward, batch), batch.places))
        return loss_sums(_logits(forward, batch), batch.places, batch.targets, penalties, base)

    def nll(self, forward: Forward, batch: CausalBatch) -> Tensor:
        """Return the negative log-likelihood of each sample's tokens with loss, in nats: (samples,), float64, on the CPU."""
        if forward.output_layer is not None:
            found = nll_of_hidden(_hidden(forward, forward.output_layer, batch), forward.output_layer, batch.targets)
        else:
            found = nll_of_units(_logits(forward, batch), batch.places, batch.targets)
        return sums_each(found, batch.units_each)


CAUSAL = CausalObjective()


def _padded(samples: Sequence[Sample]) -> CausalBatch:
    input_ids, attention_mask = padded([row.input_ids for row in samples])
    loss_mask, _ = padded([_loss_of_next(row) for row in samples])
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    return _batch(inputs, loss_mask.bool(), units_each(samples), int(attention_mask.sum()))


def _packed(samples: Sequence[Sample]) -> CausalBatch:
    documents = Documents.of([len(row.input_ids) for row in samples])
    input_ids = torch.cat([torch.tensor(row.input_ids) for row in samples]).unsqueeze(0)
    loss_mask = torch.cat([torch.tensor(_loss_of_next(row), dtype=torch.bool) for row in samples]).unsqueeze(0)
    return _batch(documents.inputs(input_ids), loss_mask, units_each(samples), input_ids.numel())


def _loss_of_next(sample: Sample) -> list[int]:
    """Return for each position of a sample whether its next token has loss: the last one has none, even if another sample follows."""
    return [*sample.loss_mask[1:], 0]


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
    return CausalBatch(following[:, positions].flatten()[places], places, each, tokens, inputs, positions)


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
