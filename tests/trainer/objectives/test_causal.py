"""The causal objective: targets and padding of a batch, and one loss whether or not a model can skip positions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.data.rows import Sample
from trainer.objectives.base import probed_forward
from trainer.objectives.causal import CAUSAL
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.penalties import Penalties

VOCABULARY = 11


def row(name: str, ids: list[int], first: int) -> Sample:
    return Sample(name, tuple(ids), tuple(index >= first for index in range(len(ids))), len(ids), False, tail=0)


class Scores(nn.Module):
    """A model whose logits are a function of the token alone, at all positions or only at those asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, VOCABULARY)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool, logits_to_keep: Tensor | None = None) -> Tensor:
        scores: Tensor = self.table(input_ids)
        return scores if logits_to_keep is None else scores[:, logits_to_keep]


class WholeScores(Scores):
    """The same model, without the option to skip positions."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool) -> Tensor:  # type: ignore[override]
        return super().forward(input_ids, attention_mask, use_cache)


def test_a_position_is_scored_against_the_token_after_it_and_padding_is_masked_by_length() -> None:
    batch = CAUSAL.collate([row("a", [5, 0, 7], 1), row("b", [8, 9], 1)])
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.positions.tolist() == [0, 1]
    assert batch.places.tolist() == [0, 1, 2]
    assert batch.targets.tolist() == [0, 7, 9]
    assert batch.units == 3


def test_packed_samples_follow_each_other_and_no_token_is_predicted_from_another_sample() -> None:
    batch = CAUSAL.collate([row("a", [5, 0, 7], 1), row("b", [8, 9], 0), row("c", [3], 1)], packed=True)
    assert batch.inputs["input_ids"].tolist() == [[5, 0, 7, 8, 9, 3]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch.inputs["documents"].lengths == (3, 2, 1)
    assert batch.positions.tolist() == [0, 1, 3]
    assert batch.places.tolist() == [0, 1, 2]
    assert batch.targets.tolist() == [0, 7, 9]
    assert (batch.units, batch.tokens) == (3, 6)


def test_places_leave_out_what_has_no_loss_at_a_position_that_has_it_in_another_row() -> None:
    batch = CAUSAL.collate([row("a", [5, 4, 7, 2], 3), row("b", [8, 9, 6], 1)])
    assert batch.positions.tolist() == [0, 1, 2]
    assert batch.places.tolist() == [2, 3, 4]
    assert batch.targets.tolist() == [2, 9, 6]


def test_a_row_without_loss_tokens_keeps_one_position_that_counts_nothing() -> None:
    for packed in (False, True):
        batch = CAUSAL.collate([row("a", [5, 6], 2)], packed=packed)
        assert batch.positions.tolist() == [0]
        assert batch.units == 0


def test_the_loss_is_the_same_whether_or_not_the_model_skips_positions() -> None:
    torch.manual_seed(1)
    skipping, whole = Scores(), WholeScores()
    whole.load_state_dict(skipping.state_dict())
    batch = CAUSAL.collate([row("a", [5, 3, 7, 2], 2), row("b", [8, 9, 1], 1)])
    sums = [CAUSAL.loss(probed_forward(model, model, CAUSAL_LM), batch, Penalties(0.1)) for model in (skipping, whole)]
    assert torch.equal(sums[0].objective, sums[1].objective)
    assert torch.equal(sums[0].nll, sums[1].nll)


def test_the_figure_is_the_unsmoothed_sum_of_the_loss_of_each_sample() -> None:
    model: Any = Scores()
    forward = probed_forward(model, model, CAUSAL_LM)
    samples = [row("a", [5, 3, 7, 2], 2), row("none", [4, 4], 2), row("b", [8, 9, 1], 1)]
    batch = CAUSAL.collate(samples)
    with torch.no_grad():
        alone = [float(CAUSAL.loss(forward, CAUSAL.collate([sample]), Penalties(0.3)).nll) for sample in samples]
        assert CAUSAL.nll(forward, batch).tolist() == pytest.approx(alone, rel=1e-6)
