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
from trainer.objectives.base import Forward, LossSums, on_device
from trainer.objectives.family import Family
from trainer.objectives.loss import loss_sums, nll_of_units, sums_each

SEQ2SEQ_LM = Family(ModelFamily.SEQ2SEQ, "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM")


@dataclass(frozen=True)
class Seq2SeqBatch:
    """Samples as rows, sources and targets each padded on the right to one length. Padding has id 0 and is masked by length."""

    sources: Tensor
    """(rows, source length); what the encoder reads."""
    source_mask: Tensor
    """(rows, source length); 1 for tokens, 0 for padding."""
    answers: Tensor
    """(rows, target length); the decoder reads them shifted by one, after the model's start token."""
    answer_mask: Tensor
    """(rows, target length); 1 where the decoder's output predicts a token."""
    targets: Tensor
    """(units,); the tokens of all targets."""
    places: Tensor
    """(units,); where the logits of each are in the flattened (rows, target length)."""
    units_each: tuple[int, ...]
    """How many of these tokens each sample has, in order."""
    tokens: int
    """Number of tokens of sources and targets, excluding padding."""

    @property
    def units(self) -> int:
        """Number of target tokens."""
        return len(self.targets)

    def to(self, device: torch.device) -> "Seq2SeqBatch":
        """Return the batch with its tensors on `device`."""
        return Seq2SeqBatch(
            on_device(self.sources, device),
            on_device(self.source_mask, device),
            on_device(self.answers, device),
            on_device(self.answer_mask, device),
            on_device(self.targets, device),
            on_device(self.places, device),
            self.units_each,
            self.tokens,
        )


class Seq2SeqObjective:
    """Prediction of a target from a source with an encoder-decoder."""

    family = SEQ2SEQ_LM

    def redrawn(self, sample: Sample, epoch: int, seed: int) -> Sample:
        """Return the sample: its targets are always the same."""
        return sample

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> Seq2SeqBatch:
        """Pad `samples`, at least one, into a batch; ValueError for packed rows, which no encoder-decoder reads."""
        if packed:
            raise ValueError("the rows of an encoder-decoder are never packed")
        sources, source_mask = _padded([row.read for row in samples])
        answers, answer_mask = _padded([row.targets for row in samples])
        places = answer_mask.flatten().nonzero().flatten()
        learned, tokens = tuple(row.tail for row in samples), sum(len(row.input_ids) for row in samples)
        return Seq2SeqBatch(sources, source_mask, answers, answer_mask, answers.flatten()[places], places, learned, tokens)

    def loss(self, forward: Forward, batch: Seq2SeqBatch, label_smoothing: float = 0.0) -> LossSums:
        """Return the sums of one batch over its target tokens."""
        return loss_sums(_logits(forward, batch), batch.places, batch.targets, label_smoothing)

    def nll(self, forward: Forward, batch: Seq2SeqBatch) -> Tensor:
        """Return the negative log-likelihood of each sample's target, in nats: (samples,), float64, on the CPU."""
        return sums_each(nll_of_units(_logits(forward, batch), batch.places, batch.targets), batch.units_each)


SEQ2SEQ = Seq2SeqObjective()


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids and mask, (rows, length); at least one position, which is padding where no row has tokens."""
    length = max(1, *(len(row) for row in rows))
    ids, mask = (torch.zeros((len(rows), length), dtype=torch.long) for _ in range(2))
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return ids, mask


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
