"""What a run knows of plain texts, and whether it is within the budget; the same after a checkpoint."""

import json
import math

import numpy as np
import pytest

from finetune.api.metrics import MetricName, Needs
from trainer.evaluation.measurement import measured_from
from trainer.evaluation.metrics.evidence import TokenRows
from trainer.rank.adaptationstate import DOMAIN, GENERAL, AdaptationState
from trainer.rank.ledger import Ledger


def state(budget: float | None = 10.0, reference: float | None = 20.0, **points: float) -> AdaptationState:
    found = AdaptationState()
    found.active, found.budget_percent, found.reference = True, budget, reference
    for step, value in points.items():
        found.note(GENERAL, int(step.removeprefix("at_")), value)
    return found


@pytest.mark.parametrize(
    ("value", "within"), [(19.0, True), (22.0, True), (22.0001, False), (math.inf, False), (math.nan, False)], ids=str
)  # fmt: skip
def test_weights_are_within_the_budget_up_to_its_limit(value: float, within: bool) -> None:
    found = state(at_10=value)
    assert found.within(10) is within
    assert found.exceeded_at == (None if within else 10)


def test_nothing_is_known_of_other_steps_nor_without_a_budget_or_base() -> None:
    assert state(at_10=30.0).within(20) is None
    assert state(budget=None, at_10=30.0).within(10) is None
    assert state(reference=None, at_10=30.0).within(10) is None


def test_a_point_is_replaced_where_a_resumed_run_measures_it_again() -> None:
    found = state(at_10=21.0)
    found.note(GENERAL, 10, 25.0)
    assert found.curves[GENERAL] == [(10, 25.0)]


def test_the_curve_of_the_domain_follows_the_validation_rows_whatever_the_model() -> None:
    for figures, value in (
        ({MetricName.PERPLEXITY: 5.0}, 5.0),
        ({MetricName.MASKED_LOSS: 2.0}, math.exp(2)),
        ({MetricName.BLEU: 3.0}, None),
    ):
        found = state()
        found.follows_validation = True
        found.validated(3, figures)
        assert found.curves[DOMAIN] == ([] if value is None else [(3, pytest.approx(value))])


def test_the_record_has_the_newest_figures_that_are_numbers() -> None:
    found = state(at_10=21.0, at_20=25.0)
    figures = found.figures("Perplexity", 20)
    assert figures is not None
    assert figures.to_wire() == {"generalPerplexity": 25.0, "generalIncreasePercent": 25.0, "withinBudget": False}
    infinite = state(at_10=math.inf).figures("Perplexity", 10)
    assert infinite is not None
    assert infinite.to_wire() == {"withinBudget": False}


def test_a_checkpoint_keeps_all_of_it() -> None:
    rows = TokenRows(np.array([3.0, 4.0]), np.array([2, 2]), np.array([5, 6]))
    ledger = Ledger()
    ledger.adaptation = state(at_10=21.0, at_20=math.inf)
    ledger.adaptation.base["general"] = measured_from(Needs.TOKEN_SUMS, rows, [MetricName.PERPLEXITY])
    ledger.adaptation.owed = True
    read = Ledger.from_state(json.loads(json.dumps(ledger.to_state(), allow_nan=False))).adaptation
    assert (read.base, read.reference, read.curves, read.owed) == (
        ledger.adaptation.base, 20.0, {"general": [(10, 21.0), (20, math.inf)], "domain": []}, True
    )  # fmt: skip
    assert Ledger.from_state(Ledger().to_state()).adaptation.base == {}
    assert "adaptation" not in {name for name, value in Ledger().to_state().items() if value is not None}
