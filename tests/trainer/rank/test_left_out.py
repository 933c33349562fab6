"""A figure that is undefined reaches log, report and record as a warning with its reason, once."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.builders import train_config
from tests.trainer.rank.test_best import OneRank
from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.figures import Figure, Perplexity
from trainer.preflight.findings_evaluation import left_out_finding
from trainer.rank.run import Run
from trainer.reporting.messages import Silent

REASON = "no answer has the 4 tokens that BLEU needs"
MEASURED = Measurement(Perplexity(3.0, 2, 5), {"bleu": Figure(None, reason=REASON), "chrf": Figure(12.0)})


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        pytest.param((), [f"evaluation.metrics: bleu of the tuned model is left out: {REASON}"], id="by the answers"),
        pytest.param((left_out_finding("bleu", REASON),), [left_out_finding("bleu", REASON)], id="known before training"),
    ],
)
def test_a_figure_that_is_left_out_is_warned_of_once(tmp_path: Path, findings: tuple[str, ...], said: list[str]) -> None:
    run = Run(train_config(output={"directory": str(tmp_path)}), SimpleNamespace(findings=findings), "owner", Silent(), [])
    run.engine = OneRank()
    run.tell_left_out(MEASURED, "tuned")
    assert run.warnings == said


def test_the_record_has_no_value_for_it() -> None:
    assert set(MEASURED.figures()) == {"perplexity", "bitsPerByte", "chrf"}
