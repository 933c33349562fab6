"""How good a model is: perplexity, answers and text metrics, and the report that sets the tuned model beside the base.

torch, sacrebleu and jiwer are imported when they are first needed. Tests: tests/trainer/evaluation/.
"""

import importlib
from typing import TYPE_CHECKING, Any

from trainer.evaluation.figures import Figure, Perplexity, figures
from trainer.evaluation.report import DataCounts, RunResult, SampleAnswer, TrainingSummary, build_report, measured_step, with_exports

if TYPE_CHECKING:
    from trainer.evaluation.generation import Generated, generate
    from trainer.evaluation.render import render_table
    from trainer.evaluation.text import METRICS, left_out, text_metrics

_HEAVY = {
    "Generated": "trainer.evaluation.generation",
    "generate": "trainer.evaluation.generation",
    "render_table": "trainer.evaluation.render",
    "METRICS": "trainer.evaluation.text",
    "left_out": "trainer.evaluation.text",
    "text_metrics": "trainer.evaluation.text",
}

__all__ = [
    "METRICS",
    "DataCounts",
    "Figure",
    "Generated",
    "Perplexity",
    "RunResult",
    "SampleAnswer",
    "TrainingSummary",
    "build_report",
    "figures",
    "generate",
    "left_out",
    "measured_step",
    "render_table",
    "text_metrics",
    "with_exports",
]


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HEAVY[name]), name)
