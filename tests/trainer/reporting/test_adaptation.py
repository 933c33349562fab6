"""What a report says of domain adaptation, and that a record made from the report says the same."""

import json
import math

import numpy as np
import pytest

from finetune.api.metrics import MetricName, Needs
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import TokenRows
from trainer.reporting.adaptation import Adapted, Side, SweepPoint, adaptation_figures

TOKENS = np.array([10, 20, 30, 40] * 5)
GENERAL = "domainAdaptation.generalEvaluation"


def measured(nats: float, needs: Needs = Needs.TOKEN_SUMS) -> Measurement:
    """Return figures of texts of which each token has this loss, of four bytes."""
    names = [MetricName.MASKED_LOSS] if needs is Needs.MASKED_SUMS else [MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE]
    return measured_from(needs, TokenRows(nats * TOKENS, TOKENS, 4 * TOKENS), names)


def test_before_after_and_between_are_in_the_report() -> None:
    general, domain = (
        Side(GENERAL, measured(2.0), measured(2.1), [(10, 8.0), (20, math.inf)], GENERAL),
        Side("data.test", measured(3.0), measured(2.0)),
    )
    points = [SweepPoint(0.0, {"general": measured(2.0)}), SweepPoint(0.5, {"general": measured(2.02), "domain": measured(2.4)})]
    adapted = Adapted(
        "Perplexity", {"general": general, "domain": domain}, 10.0, False, 20, 30, points, {"rows": 3, "share": 0.1, "drawn": 9},
        {"tokenDivergence": 0.3},
    )  # fmt: skip
    wire = json.loads(json.dumps(adapted.to_wire(), allow_nan=False))
    assert wire["generalPerplexity"]["before"] == pytest.approx(math.exp(2.0))
    assert wire["generalPerplexity"]["after"] == pytest.approx(math.exp(2.1))
    assert wire["generalPerplexity"]["verdict"] == "worse"
    assert wire["generalPerplexity"]["bitsPerByte"]["after"] == pytest.approx(2.1 / math.log(2) / 4)
    assert wire["generalPerplexity"]["curve"] == [{"step": 10, "value": 8.0}, {"step": 20, "value": None}]
    assert wire["domainPerplexity"]["texts"] == "data.test"
    assert wire["generalIncreasePercent"] == pytest.approx(100 * (math.exp(0.1) - 1))
    assert wire["generalIncreaseInterval"] == pytest.approx([wire["generalIncreasePercent"]] * 2)
    assert (wire["budgetPercent"], wire["withinBudget"], wire["chosenStep"], wire["exceededAtStep"]) == (10.0, False, 20, 30)
    assert wire["shift"]["baseBitsPerByte"] == pytest.approx({"general": 2 / math.log(2) / 4, "domain": 3 / math.log(2) / 4})
    assert wire["shift"]["tokenDivergence"] == 0.3
    first, second = wire["sweep"]
    assert (first["position"], first["generalIncreasePercent"], first["withinBudget"]) == (0.0, pytest.approx(0), True)
    assert (second["domainPerplexity"], second["withinBudget"]) == (pytest.approx(math.exp(2.4)), True)

    figures = adaptation_figures(wire)
    assert figures is not None
    assert figures.to_wire() == {
        "generalPerplexity": pytest.approx(math.exp(2.1)),
        "generalIncreasePercent": pytest.approx(wire["generalIncreasePercent"]),
        "withinBudget": False,
    }


def test_an_encoders_figures_are_named_as_what_they_are() -> None:
    side = Side(GENERAL, measured(2.0, Needs.MASKED_SUMS), measured(2.5, Needs.MASKED_SUMS))
    wire = Adapted("PseudoPerplexity", {"general": side}).to_wire()
    assert "generalPerplexity" not in wire
    assert wire["generalPseudoPerplexity"]["after"] == pytest.approx(math.exp(2.5))
    assert "bitsPerByte" not in wire["generalPseudoPerplexity"]
    figures = adaptation_figures(wire)
    assert figures is not None
    assert figures.general_pseudo_perplexity == pytest.approx(math.exp(2.5))


def test_a_loss_beyond_the_largest_float_has_neither_figure_nor_interval() -> None:
    nats = np.linspace(711.0, 713.0, len(TOKENS))
    base = measured_from(Needs.MASKED_SUMS, TokenRows(nats * TOKENS, TOKENS, 4 * TOKENS), [MetricName.MASKED_LOSS])
    side = Side(GENERAL, base, measured(2.0, Needs.MASKED_SUMS))
    wire = json.loads(json.dumps(Adapted("PseudoPerplexity", {"general": side}).to_wire(), allow_nan=False))["generalPseudoPerplexity"]
    assert (wire["before"], wire["beforeInterval"]) == (None, None)
    assert wire["after"] == pytest.approx(math.exp(2.0))


def test_beside_a_base_that_guesses_there_is_no_verdict_and_no_increase() -> None:
    general, domain = (Side(GENERAL, measured(9.0), measured(2.0), guessed=guessed) for guessed in (True, True))
    known = Side(GENERAL, measured(9.0), measured(2.0))
    points = [SweepPoint(0.5, {"general": measured(3.0)})]
    wire, other = (Adapted("Perplexity", {"general": one, "domain": domain}, sweep=points).to_wire() for one in (general, known))
    assert (wire["generalPerplexity"]["verdict"], wire["generalPerplexity"]["beforeIsGuessing"]) == (None, True)
    assert wire["generalPerplexity"]["before"] == pytest.approx(math.exp(9.0))
    assert (wire["generalIncreasePercent"], wire["generalIncreaseInterval"], wire["sweep"][0]["generalIncreasePercent"]) == (None,) * 3
    assert (other["generalPerplexity"]["verdict"], other["generalPerplexity"]["beforeIsGuessing"]) == ("better", False)
    assert other["generalIncreasePercent"] == pytest.approx(100 * (math.exp(-7.0) - 1))
    figures = adaptation_figures(wire)
    assert figures is not None
    assert figures.to_wire() == {"generalPerplexity": pytest.approx(math.exp(2.0))}


def test_a_job_that_only_replays_has_no_figures() -> None:
    wire = Adapted("Perplexity", {}, replay={"rows": 3, "share": 0.1, "drawn": 9}).to_wire()
    assert (wire["shift"], wire["sweep"], wire["replay"]["drawn"]) == (None, [], 9)
    assert adaptation_figures(wire) is None
    assert adaptation_figures(None) is None
