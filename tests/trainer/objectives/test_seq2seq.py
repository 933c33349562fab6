"""The objective of encoder-decoders: sources and targets of a batch, and one loss that agrees with transformers' own."""

from typing import Any

import pytest
import torch

from finetune.api.errors import InputError
from tests.trainer.fixtures.seq2seq import KINDS, PAD, tiny_seq2seq
from trainer.data.rows import Sample
from trainer.objectives.base import Forward, probed_forward
from trainer.objectives.penalties import Penalties
from trainer.objectives.seq2seq import SEQ2SEQ, SEQ2SEQ_LM

VOCABULARY = 23


def row(name: str, source: list[int], target: list[int]) -> Sample:
    return Sample(name, [*source, *target], [0] * len(source) + [1] * len(target), len(target), False, tail=len(target))


ROWS = [row("a", [5, 7, 3, 1], [9, 1]), row("b", [8, 1], [4, 4, 2, 11, 1]), row("c", [21, 20, 19, 18, 17, 1], [1])]


def forward_of(model: Any) -> Forward:
    return probed_forward(model, lambda **inputs: model(**inputs).logits, SEQ2SEQ_LM)


def test_sources_and_targets_are_padded_apart_and_masked_by_length() -> None:
    batch = SEQ2SEQ.collate([row("a", [5, 0, 1], [9, 1]), row("b", [8, 1], [4, 0, 1])])
    assert batch.sources.tolist() == [[5, 0, 1], [8, 1, 0]]
    assert batch.source_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.answers.tolist() == [[9, 1, 0], [4, 0, 1]]
    assert batch.answer_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.targets.tolist() == [9, 1, 4, 0, 1]
    assert batch.places.tolist() == [0, 1, 3, 4, 5]
    assert (batch.units, batch.tokens) == (5, 10)


def test_rows_are_never_packed() -> None:
    with pytest.raises(ValueError, match="never packed"):
        SEQ2SEQ.collate(ROWS, packed=True)


@pytest.mark.parametrize("model_type", KINDS)
def test_the_loss_is_that_of_transformers_for_each_row_alone(model_type: str) -> None:
    model = tiny_seq2seq(model_type, VOCABULARY)
    each = []
    for sample in ROWS:
        cut = len(sample.input_ids) - sum(sample.loss_mask)
        source, labels = torch.tensor([sample.input_ids[:cut]]), torch.tensor([sample.input_ids[cut:]])
        with torch.no_grad():
            each.append(float(model(input_ids=source, labels=labels).loss) * labels.numel())

    found = SEQ2SEQ.loss(forward_of(model), SEQ2SEQ.collate(ROWS))

    assert float(found.nll) == pytest.approx(sum(each), rel=1e-5)
    assert float(found.objective.detach()) == pytest.approx(sum(each), rel=1e-5)
    with torch.no_grad():
        assert SEQ2SEQ.nll(forward_of(model), SEQ2SEQ.collate(ROWS)).tolist() == pytest.approx(each, rel=1e-5)


@pytest.mark.parametrize("model_type", KINDS)
def test_padding_changes_neither_loss_nor_gradient(model_type: str) -> None:
    model = tiny_seq2seq(model_type, VOCABULARY)

    def gradients(batches: list[list[Sample]]) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        losses = [SEQ2SEQ.loss(forward_of(model), SEQ2SEQ.collate(batch), Penalties(0.1)).objective for batch in batches]
        sum(losses, torch.zeros(())).backward()
        found = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        return sum(float(loss.detach()) for loss in losses), found

    (together, joined), (alone, summed) = gradients([ROWS]), gradients([[sample] for sample in ROWS])

    assert together == pytest.approx(alone, rel=1e-5)
    for one, other in zip(joined, summed, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_answers_begin_after_the_token_that_the_configuration_names() -> None:
    assert forward_of(tiny_seq2seq("marian", VOCABULARY)).decoder_start == PAD
    model = tiny_seq2seq("t5", VOCABULARY)
    model.config.decoder_start_token_id = None
    with pytest.raises(InputError, match="t5 model names no decoder_start_token_id"):
        forward_of(model)
