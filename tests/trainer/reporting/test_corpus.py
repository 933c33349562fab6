"""What a job's report says of the corpus that was learned before its task."""

import json
import math
from typing import Any

import pytest

from trainer.reporting.adaptation import adaptation_figures
from trainer.reporting.corpus import adapted_before, corpus_lines
from trainer.reporting.guessing import guesses

CORPUS = "domainAdaptation.corpus"
CURVE = [{"step": 10, "value": 10.5}, {"step": 20, "value": 11.0}]
SIDE = {
    "texts": "domainAdaptation.generalEvaluation", "rows": 20, "before": 10.0, "beforeInterval": None, "beforeIsGuessing": False,
    "after": 11.0, "interval": None, "verdict": "worse", "curve": CURVE, "curveTexts": "domainAdaptation.generalEvaluation",
}  # fmt: skip
OF_TEST = {"texts": "data.test", "before": 1000.0, "after": 20.0, "interval": [18.0, 22.0], "curveTexts": "data.validation"}
SWEEP = [{"position": 0.5, "generalPerplexity": 10.2, "domainPerplexity": 50.0, "generalIncreasePercent": 2.0, "withinBudget": True}]
STAGE: dict[str, Any] = {
    "data": {"train": 1200},
    "training": {"steps": 30, "totalSteps": 40},
    "timings": {"seconds": 4.5},
    "measuredStep": 20,
    "domainAdaptation": {
        "generalPerplexity": SIDE,
        "domainPerplexity": SIDE | OF_TEST,
        "generalIncreasePercent": 10.0,
        "generalIncreaseInterval": [8.0, 12.0],
        "budgetPercent": 12.0,
        "withinBudget": True,
        "chosenStep": 20,
        "exceededAtStep": 30,
        "shift": {"domainTexts": "data.train", "tokenDivergence": 0.3},
        "sweep": SWEEP,
        "replay": {"rows": 3, "share": 0.1, "drawn": 9},
    },
}
LEARNED = {
    "report": "/out/report.json",
    "texts": 1200,
    "steps": 30,
    "totalSteps": 40,
    "seconds": 4.5,
    "measuredStep": 20,
    "baseIsGuessing": False,
}


def test_the_report_of_the_job_has_all_that_the_run_that_learned_it_says_in_the_same_places() -> None:
    found = adapted_before(STAGE, "/out/report.json")
    expected = json.loads(json.dumps(STAGE["domainAdaptation"]))
    expected["domainPerplexity"] |= {"texts": CORPUS, "curveTexts": CORPUS}
    expected["shift"]["domainTexts"] = CORPUS
    assert found == expected | {"corpus": LEARNED}


def test_the_record_has_the_figures_of_general_texts() -> None:
    figures = adaptation_figures(adapted_before(STAGE, ""))
    assert figures is not None
    assert figures.to_wire() == {"generalPerplexity": 11.0, "generalIncreasePercent": 10.0, "withinBudget": True}


HELD_OUT = {
    "baseline": {"maskedLoss": {"value": 3.0, "interval": [2.0, 4.0]}},
    "final": {"maskedLoss": {"value": 2.0, "rows": 7}},
    "change": {"maskedLoss": {"verdict": "better"}},
    "generalization": {"curve": [{"step": 10, "trainLoss": 1.0, "validationLoss": 2.5}]},
}


def test_without_texts_of_their_own_the_domains_are_those_that_were_held_out() -> None:
    found = adapted_before({**STAGE, **HELD_OUT, "domainAdaptation": None}, "")
    assert found["domainPseudoPerplexity"] == {
        "texts": CORPUS,
        "rows": 7,
        "before": pytest.approx(math.exp(3)),
        "beforeInterval": [pytest.approx(math.exp(2)), pytest.approx(math.exp(4))],
        "beforeIsGuessing": False,
        "after": pytest.approx(math.exp(2)),
        "interval": None,
        "verdict": "better",
        "curve": [{"step": 10, "value": pytest.approx(math.exp(2.5))}],
        "curveTexts": CORPUS,
    }
    assert "generalPerplexity" not in found
    assert (found["chosenStep"], found["withinBudget"], found["sweep"]) == (20, None, []), "the places of any other report"
    assert adaptation_figures(found) is None
    causal = {"baseline": {"perplexity": {"value": 3.0}}, "final": {"perplexity": {"value": 2.0, "rows": 7}}}
    of_texts = adapted_before(causal, "")["domainPerplexity"]
    assert (of_texts["rows"], of_texts["before"], of_texts["after"], of_texts["curve"]) == (7, 3.0, 2.0, [])
    assert not any(name.startswith("domain") for name in adapted_before({"baseline": {}, "final": {}}, ""))


def test_losses_beyond_the_largest_float_have_no_likelihood_and_the_job_goes_on() -> None:
    curve = [{"step": 10, "trainLoss": 1.0, "validationLoss": loss} for loss in (712.0, 699.0)]
    base, tuned = ({"maskedLoss": {"value": value, "interval": [2.0, 712.0], "rows": 7}} for value in (712.0, 2.0))
    found = adapted_before({"baseline": base, "final": tuned, "generalization": {"curve": curve}}, "")
    side = json.loads(json.dumps(found, allow_nan=False))["domainPseudoPerplexity"]
    assert (side["before"], side["after"]) == (None, pytest.approx(math.exp(2)))
    assert (side["beforeInterval"], side["interval"]) == (None, None)
    assert [point["value"] for point in side["curve"]] == [None, pytest.approx(math.exp(699))]


@pytest.mark.parametrize("model", [{"headIsNew": True}, {"headIsNew": False, "initialization": "random"}], ids=["head", "all"])
def test_no_verdict_is_given_beside_a_base_that_guesses(model: dict[str, Any]) -> None:
    found = adapted_before({**STAGE, **HELD_OUT, "domainAdaptation": None, "model": model}, "")
    side = found["domainPseudoPerplexity"]
    assert (side["beforeIsGuessing"], side["verdict"]) == (True, None)
    assert guesses({"model": {"headIsNew": False, "initialization": "pretrained"}, "domainAdaptation": found}), "what the task begins with"


def test_the_terminal_is_told_that_the_base_is_the_model_before_it() -> None:
    assert corpus_lines(None) == corpus_lines({"generalPerplexity": SIDE}) == []
    first = "Domain stage: 30 steps on 1,200 texts. The base figures are from before this stage."
    assert corpus_lines({"corpus": LEARNED}) == [first]
    assert corpus_lines(adapted_before(STAGE, "")) == [
        first, "General and domain texts are measured before and after this stage, not after the task.",
    ]  # fmt: skip
