"""Every metric is a module of the `evaluate` library that works without a network."""

import socket
from typing import Any

import evaluate
import pytest
import sacrebleu

from finetune.api.metrics import METRICS, MetricName, Needs
from tests.trainer.evaluation.metrics.builders import HYPOTHESES, REFERENCES
from trainer.evaluation.metrics.modules import module
from trainer.evaluation.metrics.registry import implementations

COLUMNS: dict[Needs, dict[str, Any]] = {
    Needs.TOKEN_SUMS: {"nll": [3.0, 5.0], "tokens": [2, 2], "bytes": [5, 9]},
    Needs.MASKED_SUMS: {"nll": [3.0, 5.0], "tokens": [2, 2], "bytes": [5, 9]},
    Needs.GENERATED_TEXT: {"predictions": HYPOTHESES, "references": REFERENCES},
    Needs.SPANS: {"predictions": HYPOTHESES, "references": [[text] for text in REFERENCES]},
    Needs.CLASSES: {"predictions": [[0.9, 0.1], [0.3, 0.7]], "references": [[0], [0]], "names": ["no", "yes"]},
}


@pytest.mark.parametrize("name", list(implementations()))
def test_a_metric_computes_as_a_module_without_a_network(name: MetricName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a metric reached for the network"))
    found = module(implementations()[name])
    assert isinstance(found, evaluate.Metric)
    result = found.compute(**COLUMNS[METRICS[name].needs])
    assert result[name] is not None
    assert result["figure"].value == result[name]


def test_a_row_may_have_one_reference_or_several() -> None:
    references = [["The operator starts one Ray job.", REFERENCES[0]], REFERENCES[1:2], [REFERENCES[2], "It resumes from there."]]
    found = module(implementations()[MetricName.CHRF]).compute(predictions=HYPOTHESES, references=references)["chrf"]
    streams = [[row[0] for row in references], [row[1] if len(row) > 1 else None for row in references]]
    assert found == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, streams).score)
