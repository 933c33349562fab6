"""Answers of encoder-decoders: each token of an answer is predicted from the whole source and the answer's tokens before it.

A sample is its source, and then its target with the end token, as tail with loss. Rows are never packed. Tests:
tests/trainer/objectives/test_seq2seq.py, tests/trainer/engine/test_seq2seq.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune.api.tasks import ModelFamily
from trainer.data.rows import Sample
from trainer.objectives.base import FixedTargets, Forward, LossSums
from trainer.objectives.family import Family
from trainer.objectives.loss import TokenBatch, chosen_logits, loss_sums, nll_of_units, sums_each
from trainer.objectives.penalties import NO_PENALTIES, Penalties
from trainer.objectives.reading import padded

SEQ2SEQ_LM = Family(ModelFamily.SEQ2SEQ, "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM")


@dataclass(frozen=True)
class Seq2SeqBatch(TokenBatch):
    """Samples as rows, sources and targets each padded on the right to one length; `tokens` counts both."""

    sources: Tensor
    """(rows, source length); what the encoder reads."""
    source_mask: Tensor
    """(rows, source length); 1 for tokens, 0 for padding."""
    answers: Tensor
    """(rows, target length); the decoder reads them shifted by one, after the model's start token."""
    answer_mask: Tensor
    """(rows, target length); 1 where the decoder's output predicts a token."""


class Seq2SeqObjective(FixedTargets):
    """Prediction of a target from a source with an encoder-decoder."""

    family = SEQ2SEQ_LM

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> Seq2SeqBatch:
        """Pad `samples`, at least one, into a batch; ValueError for packed rows, which no encoder-decoder reads."""
        if packed:
            raise ValueError("the rows of an encoder-decoder are never packed")
        sources, source_mask = padded([row.read for row in samples])
        answers, answer_mask = padded([row.targets for row in samples])
        places = answer_mask.flatten().nonzero().flatten()
        learned, tokens = tuple(row.tail for row in samples), sum(len(row.input_ids) for row in samples)
        return Seq2SeqBatch(answers.flatten()[places], places, learned, tokens, sources, source_mask, answers, answer_mask)

    def loss(self, forward: Forward, batch: Seq2SeqBatch, penalties: Penalties = NO_PENALTIES) -> LossSums:
        """Return the sums of one batch over its target tokens."""
        base = penalties.of_base(lambda: chosen_logits(_logits(forward, batch), batch.places))
        return loss_sums(_logits(forward, batch), batch.places, batch.targets, penalties, base)

    def nll(self, forward: Forward, batch: Seq2SeqBatch) -> Tensor:
        """Return the negative log-likelihood of each sample's target, in nats: (samples,), float64, on the CPU."""
        return sums_each(nll_of_units(_logits(forward, batch), batch.places, batch.targets), batch.units_each)


SEQ2SEQ = Seq2SeqObjective()


def _logits(forward: Forward, batch: Seq2SeqBatch) -> Tensor:
    """Return logits (rows, target length, vocabulary): at each position those of the target's token there."""
    if forward.decoder_start is None:
        raise ValueError("the model is no encoder-decoder: it has no token that answers begin after")
    start = torch.full_like(batch.answers[:, :1], forward.decoder_start)
    return forward.compute(
        input_ids=batch.sources,
        attention_mask=batch.source_mask,
        decoder_input_ids=torch.cat([start, batch.answers[:, :-1]], dim=1),
        decoder_attention_mask=batch.answer_mask,
        use_cache=False,
    )
