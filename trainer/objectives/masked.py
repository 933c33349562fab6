"""Masked language modeling by an encoder: each hidden token of a text is named from the tokens around it, before and after.

A training row is hidden differently in every epoch; rows that are measured keep their draw. Test: tests/trainer/objectives/test_masked.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune.api.tasks import ModelFamily
from trainer.data.masking import Masking
from trainer.data.rows import Sample
from trainer.data.sampler import random_for
from trainer.objectives.base import Forward, LossSums
from trainer.objectives.family import Family
from trainer.objectives.loss import TokenBatch, chosen_logits, loss_sums, nll_of_units, sums_each
from trainer.objectives.penalties import NO_PENALTIES, Penalties
from trainer.objectives.reading import read_inputs, refuse_packing

# With adapters PEFT has no task of this name; this one changes nothing about the model.
MASKED_LM = Family(ModelFamily.ENCODER, "AutoModelForMaskedLM", "FEATURE_EXTRACTION", new_head=True)


@dataclass(frozen=True)
class MaskedBatch(TokenBatch):
    """Texts padded to one length; the tokens with loss are those that are hidden."""

    inputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class MaskedObjective:
    """Cross-entropy over the vocabulary at the hidden tokens."""

    masking: Masking | None = None
    """How rows are hidden again; None where no row is trained."""
    family = MASKED_LM

    def redrawn(self, sample: Sample, epoch: int, seed: int) -> Sample:
        """Return the row with other tokens hidden, as many; a function of seed, epoch and the row's id."""
        if self.masking is None:
            raise ValueError("it is not known how to hide tokens")
        return self.masking.hide_again(sample, random_for("mask", seed, epoch, sample.id))

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> MaskedBatch:
        """Pad what `samples`, at least one, read; take the hidden tokens from their tails."""
        refuse_packing(packed)
        inputs, tokens = read_inputs(samples)
        length = inputs["input_ids"].shape[1]
        places = [number * length + place for number, row in enumerate(samples) for place, marked in enumerate(row.loss_mask) if marked]
        hidden = torch.tensor([token for row in samples for token in row.targets], dtype=torch.long)
        return MaskedBatch(hidden, torch.tensor(places, dtype=torch.long), tuple(row.tail for row in samples), tokens, inputs)

    def loss(self, forward: Forward, batch: MaskedBatch, penalties: Penalties = NO_PENALTIES) -> LossSums:
        """Return the sums of one batch over its hidden tokens."""
        base = penalties.of_base(lambda: chosen_logits(forward.compute(**batch.inputs), batch.places))
        return loss_sums(forward.compute(**batch.inputs), batch.places, batch.targets, penalties, base)

    def nll(self, forward: Forward, batch: MaskedBatch) -> Tensor:
        """Return the negative log-likelihood of each sample's hidden tokens, in nats: (samples,), float64, on the CPU."""
        return sums_each(nll_of_units(forward.compute(**batch.inputs), batch.places, batch.targets), batch.units_each)
