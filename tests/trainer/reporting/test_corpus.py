"""What a job's report says of the corpus that was learned before its task."""

import math

import pytest

from trainer.reporting.corpus import corpus_lines, corpus_to_wire

SIDE = {
    "texts": "domainAdaptation.generalEvaluation",
    "rows": 20,
    "before": 10.0,
    "after": 11.0,
    "verdict": "worse",
    "curve": [1],
    "interval": None,
}
STAGE = {
    "data": {"train": 1200},
    "training": {"steps": 30},
    "timings": {"seconds": 4.5},
    "measuredStep": 20,
    "domainAdaptation": {
        "generalPerplexity": SIDE,
        "domainPerplexity": SIDE | {"texts": "data.test", "before": 1000.0, "after": 20.0, "interval": [18.0, 22.0]},
        "generalIncreasePercent": 10.0,
        "budgetPercent": None,
        "sweep": [],
    },
}


def test_the_figures_are_those_of_the_run_that_learned_it() -> None:
    assert corpus_to_wire(STAGE, "/out/adaptation/report.json") == {
        "report": "/out/adaptation/report.json",
        "texts": 1200,
        "steps": 30,
        "seconds": 4.5,
        "measuredStep": 20,
        "generalPerplexity": {
            "texts": "domainAdaptation.generalEvaluation", "rows": 20, "before": 10.0, "after": 11.0, "verdict": "worse",
        },
        "domainPerplexity": {
            "texts": "domainAdaptation.corpus", "rows": 20, "before": 1000.0, "after": 20.0, "interval": [18.0, 22.0], "verdict": "worse",
        },
        "generalIncreasePercent": 10.0,
    }  # fmt: skip


def test_without_texts_of_their_own_the_domains_are_those_that_were_held_out() -> None:
    figures = {"baseline": {"maskedLoss": {"value": 3.0, "interval": [2.0, 4.0]}}, "final": {"maskedLoss": {"value": 2.0, "rows": 7}}}
    found = corpus_to_wire({**STAGE, **figures, "domainAdaptation": None, "change": {"maskedLoss": {"verdict": "better"}}}, "")
    assert found["domainPseudoPerplexity"] == {
        "texts": "domainAdaptation.corpus",
        "rows": 7,
        "before": pytest.approx(math.exp(3)),
        "beforeInterval": [pytest.approx(math.exp(2)), pytest.approx(math.exp(4))],
        "after": pytest.approx(math.exp(2)),
        "verdict": "better",
    }
    assert "generalPerplexity" not in found
    causal = {"baseline": {"perplexity": {"value": 3.0}}, "final": {"perplexity": {"value": 2.0, "rows": 7}}}
    assert corpus_to_wire(causal, "")["domainPerplexity"] == {"texts": "domainAdaptation.corpus", "rows": 7, "before": 3.0, "after": 2.0}
    assert not any(name.startswith("domain") for name in corpus_to_wire({"baseline": {}, "final": {}}, ""))


def test_the_terminal_is_told_that_the_base_is_the_model_before_it() -> None:
    assert corpus_lines(None) == corpus_lines({"generalPerplexity": SIDE}) == []
    assert corpus_lines({"corpus": corpus_to_wire(STAGE, "")}) == [
        "Before the task 30 steps on 1,200 texts of the domain were learned; base is the model before that.",
        "  perplexity of general texts 10.00 before, 11.00 after",
        "  perplexity of domain texts 1,000.00 before, 20.00 after",
    ]
