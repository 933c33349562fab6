"""A figure that is undefined reaches log, report and record as a warning with its reason, once."""

import pytest

from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.figures import Figure, Perplexity
from trainer.preflight.findings_evaluation import left_out_finding
from trainer.rank.measuring import warn_left_out
from trainer.rank.outbox import Outbox
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
def test_a_figure_that_is_left_out_is_warned_of_once(findings: tuple[str, ...], said: list[str]) -> None:
    outbox = Outbox(Silent(), findings)
    warn_left_out(MEASURED, "tuned", outbox)
    assert outbox.warnings == said


def test_the_record_has_no_value_for_it() -> None:
    assert set(MEASURED.figures()) == {"perplexity", "bitsPerByte", "chrf"}
