"""The loss of classes is that of an independent computation, whatever the batch; what follows the text is not read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import BCEWithLogitsLoss, CrossEntropyLoss

from tests.trainer.fixtures.encoders import CLASSES, tiny_encoder
from trainer.data.rows import Sample
from trainer.objectives.base import Forward, probed_forward
from trainer.objectives.classification import ClassificationObjective
from trainer.objectives.penalties import Penalties

ONE, SEVERAL = ClassificationObjective(CLASSES), ClassificationObjective(CLASSES, several=True)
TEXTS = [[2, 30, 40, 3], [2, 50, 3], [2, 60, 70, 80, 90, 3]]
KINDS = pytest.mark.parametrize("objective", [ONE, SEVERAL], ids=["one label", "several labels"])


def samples(objective: ClassificationObjective) -> list[Sample]:
    tails = [[0, 1, 1], [0, 0, 0], [1, 0, 0]] if objective.several else [[2], [0], [1]]
    return [
        Sample(f"row-{place}", [*text, *tail], [0] * len(text) + [1] * len(tail), 0, truncated=False, tail=len(tail))
        for place, (text, tail) in enumerate(zip(TEXTS, tails, strict=True))
    ]


def forward_of(objective: ClassificationObjective) -> tuple[Any, Forward]:
    model = tiny_encoder(objective.family.auto_class, **objective.family.settings)
    return model, probed_forward(model, lambda **inputs: model(**inputs).logits, objective.family)


def scores_alone(model: Any, text: Sequence[int]) -> torch.Tensor:
    """Return the scores of one text, as transformers computes them without padding."""
    return model(input_ids=torch.tensor([text])).logits[0].detach()


@KINDS
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_sum_over_rows_of_what_torch_computes(objective: ClassificationObjective, smoothing: float) -> None:
    model, forward = forward_of(objective)
    rows = samples(objective)
    found = objective.loss(forward, objective.collate(rows), Penalties(smoothing))

    expected, plain = 0.0, 0.0
    for text, row in zip(TEXTS, rows, strict=True):
        scores = scores_alone(model, text)
        if objective.several:
            right = torch.tensor(row.input_ids[-3:]).float()
            soft = (1 - smoothing) * right + smoothing / 2
            expected += float(BCEWithLogitsLoss(reduction="sum")(scores, soft))
            plain += float(BCEWithLogitsLoss(reduction="sum")(scores, right))
        else:
            right = torch.tensor(row.input_ids[-1])
            expected += float(CrossEntropyLoss(label_smoothing=smoothing)(scores, right))
            plain += float(CrossEntropyLoss()(scores, right))

    assert float(found.objective.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(found.nll) == pytest.approx(plain, rel=1e-5)
    assert found.objective.requires_grad


@KINDS
def test_a_row_has_the_loss_and_the_probabilities_that_it_has_alone(objective: ClassificationObjective) -> None:
    _, forward = forward_of(objective)
    rows = samples(objective)
    with torch.no_grad():
        together, probabilities = (of(forward, objective.collate(rows)) for of in (objective.nll, objective.probabilities))
        alone = [objective.nll(forward, objective.collate([row])) for row in rows]
        each = [objective.probabilities(forward, objective.collate([row])) for row in rows]

    assert together.dtype == probabilities.dtype == torch.float64
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(probabilities, torch.cat(each), rtol=1e-5, atol=1e-6)
    if not objective.several:
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3, dtype=torch.float64))


@KINDS
def test_units_are_those_that_the_samples_count(objective: ClassificationObjective) -> None:
    rows = samples(objective)
    batch = objective.collate(rows)

    assert batch.units == sum(sum(row.loss_mask) for row in rows)
    assert batch.tokens == sum(map(len, TEXTS))
    assert batch.inputs["input_ids"].tolist()[1] == [2, 50, 3, 0, 0, 0]
    assert batch.inputs["attention_mask"].sum(dim=1).tolist() == [len(text) for text in TEXTS]


def test_the_right_classes_of_a_row_are_its_tail() -> None:
    assert [ONE.gold(row) for row in samples(ONE)] == [(2,), (0,), (1,)]
    assert [SEVERAL.gold(row) for row in samples(SEVERAL)] == [(1, 2), (), (0,)]


def test_rows_are_not_packed() -> None:
    with pytest.raises(ValueError, match="cannot be packed"):
        ONE.collate(samples(ONE), packed=True)


def test_a_row_that_is_drawn_again_is_the_same() -> None:
    (row, *_) = samples(ONE)
    assert ONE.redrawn(row, epoch=3, seed=1) is row


@KINDS
def test_a_sample_without_a_class_is_an_error(objective: ClassificationObjective) -> None:
    forgotten = [replace(sample, tail=0) for sample in samples(objective)]

    with pytest.raises(ValueError, match="the sample 'row-0' has no class"):
        objective.collate(forgotten)
