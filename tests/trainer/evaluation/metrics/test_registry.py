"""Every metric of the table is implemented once, and nothing else is."""

from types import SimpleNamespace

import pytest

from finetune.api.metrics import METRICS, MetricName, Needs
from tests.trainer.evaluation.metrics.builders import answers_to, token_rows
from trainer.evaluation.metrics import exactmatch
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Classified, ClassPrediction
from trainer.evaluation.metrics.registry import compute, implementations, left_out, text_metric

EVIDENCE = {
    Needs.TOKEN_SUMS: token_rows((3.0, 2, 5)),
    Needs.MASKED_SUMS: token_rows((3.0, 2, 5)),
    Needs.GENERATED_TEXT: answers_to(["yes it is so"], ["yes it is so"]),
    Needs.SPANS: answers_to(["yes it is so"], ["yes it is so"]),
    Needs.CLASSES: Classified(("no", "yes"), (ClassPrediction((1,), (0.2, 0.8)),)),
}


def test_what_the_table_lists_and_training_does_not_measure_is_implemented_and_nothing_else() -> None:
    assert set(implementations()) == {name for name, facts in METRICS.items() if facts.needs is not Needs.TRAINING}


@pytest.mark.parametrize("name", [name for name, facts in METRICS.items() if facts.needs is not Needs.TRAINING])
def test_a_figure_has_the_unit_of_the_table_and_says_how_it_was_computed(name: MetricName) -> None:
    figure = compute([name], EVIDENCE)[name]

    assert implementations()[name].facts is METRICS[name]
    assert figure.value is not None
    assert figure.unit == METRICS[name].unit
    assert figure.signature


@pytest.mark.parametrize("name", [name for name, facts in METRICS.items() if facts.needs is Needs.GENERATED_TEXT])
def test_metrics_of_generated_text_can_say_what_references_leave_undefined(name: MetricName) -> None:
    assert text_metric(name).reason_for([("yes it is so",)]) is None


def test_a_metric_of_generated_text_must_say_what_references_leave_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = SimpleNamespace(facts=METRICS[MetricName.EXACT_MATCH], compute=lambda predictions: Figure(1.0))
    monkeypatch.setattr(exactmatch, "METRICS", (bare,))

    with pytest.raises(TypeError, match=r"metrics\.exactmatch: exactMatch compares generated text, so its class must be a TextMetric"):
        implementations.__wrapped__()


def test_without_references_every_metric_of_generated_text_is_left_out() -> None:
    assert left_out([], [MetricName.WER, MetricName.EXACT_MATCH]) == {
        MetricName.WER: Figure(None, unit=METRICS[MetricName.WER].unit, reason="no row asks for an answer"),
        MetricName.EXACT_MATCH: Figure(None, unit=METRICS[MetricName.EXACT_MATCH].unit, reason="no row asks for an answer"),
    }


def test_perplexity_compares_no_texts() -> None:
    with pytest.raises(TypeError, match="perplexity does not compare texts"):
        text_metric(MetricName.PERPLEXITY)
