"""A figure that is undefined reaches log, report and record as a warning with its reason, once."""

import pytest

from finetune.api.metrics import MetricName
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure
from trainer.preflight.findings_evaluation import left_out_finding
from trainer.rank.measuring import warn_left_out
from trainer.rank.outbox import Outbox
from trainer.reporting.messages import Silent

REASON = "no answer has the 4 tokens that BLEU needs"
MEASURED = Measurement({MetricName.BLEU: Figure(None, reason=REASON), MetricName.CHRF: Figure(12.0)})


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
    assert MEASURED.values() == {"chrf": 12.0}
