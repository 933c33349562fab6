"""The loss of hidden tokens is that of an independent computation, one row at a time; every epoch hides others."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.data.masking import text_of
from trainer.objectives.base import probed_forward
from trainer.objectives.masked import MASKED_LM, MaskedObjective
from trainer.text.example import TextExample
from trainer.text.masked import hiding, masked_pieces

TEXTS = ["a text of some length, of which a few tokens are hidden", "a short one", "x"]
TOKENIZER = bert_tokenizer()
OBJECTIVE = MaskedObjective(hiding(TOKENIZER))
SAMPLES = [pieces[0].tokens for pieces in masked_pieces([TextExample.of("line", text) for text in TEXTS], TOKENIZER, 100)]


def test_the_loss_is_that_of_each_row_alone_at_its_hidden_tokens() -> None:
    model = tiny_encoder("AutoModelForMaskedLM", max_position_embeddings=128)
    forward = probed_forward(model, lambda **inputs: model(**inputs).logits, MASKED_LM)
    batch = OBJECTIVE.collate(SAMPLES)
    expected = []
    for sample in SAMPLES:
        read, hidden = text_of(sample)
        shown = torch.tensor([list(sample.input_ids[: len(read)])])
        wanted = torch.tensor(sample.loss_mask[: len(read)], dtype=torch.bool)
        with torch.no_grad():
            expected.append(float(cross_entropy(model(input_ids=shown).logits[0][wanted], torch.tensor(hidden), reduction="sum")))

    with torch.no_grad():
        found, sums = OBJECTIVE.nll(forward, batch), OBJECTIVE.loss(forward, batch)

    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert float(sums.nll) == pytest.approx(sum(expected), rel=1e-5)
    assert batch.units == sum(sum(row.loss_mask) for row in SAMPLES)


def test_every_epoch_hides_other_tokens_of_the_same_text_and_a_resumed_run_the_same() -> None:
    row = SAMPLES[0]
    drawn = [OBJECTIVE.redrawn(row, epoch, seed) for epoch, seed in ((0, 1), (0, 1), (1, 1), (0, 2))]

    assert drawn[0] == drawn[1]
    assert len({bytes(sample.loss_mask) for sample in [row, *drawn]}) == 4
    assert all(text_of(sample)[0] == text_of(row)[0] for sample in drawn)
    assert {sum(sample.loss_mask) for sample in drawn} == {sum(row.loss_mask)}


def test_without_a_tokenizer_nothing_is_hidden_again() -> None:
    with pytest.raises(ValueError, match="not known how to hide"):
        MaskedObjective().redrawn(SAMPLES[0], 0, 1)
