"""What `finetune evaluate` found, as JSON in the form of report.json, of which it has the parts that are about figures.

Pure. Test: tests/trainer/reporting/test_evaluated.py.
"""

from dataclasses import dataclass
from typing import Any

from finetune.api.evaluation import Generation
from finetune.api.metrics import MetricName
from finetune.api.tasks import TASKS
from finetune.api.trainconfig import TrainConfig
from trainer.evaluation.comparison import certainty_of, compare
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.turns import in_turns
from trainer.evaluation.unchanged import unchanged
from trainer.reporting.report import SCHEMA_VERSION, change_to_wire, figures_to_wire, versions

SAMPLES = 3
"""Answers that are shown."""


@dataclass(frozen=True)
class Evaluated:
    """The figures of a model, and of its base if that was measured too."""

    job: TrainConfig
    model: str
    """Its name, or its folder."""
    what: str
    """What was measured, in words."""
    rows: int
    judged_by: MetricName
    tuned: Measurement
    base: Measurement | None = None


def report_of(found: Evaluated) -> dict[str, Any]:
    """Return the figures as a JSON value; `baseline`, `change` and the base's answers are there only if it was measured."""
    tuned, base = found.tuned, found.base
    comparison = compare(base or Measurement(), tuned)
    report: dict[str, Any] = {
        "schemaVersion": SCHEMA_VERSION,
        "job": found.job.job.to_wire() | {"task": found.job.task.value},
        "model": {"name": found.model, "what": found.what},
        "rows": {"evaluated": found.rows, "generated": len(tuned.generated)},
        "answers": _answers(found) if tuned.generated else None,
        "final": figures_to_wire(tuned.figures, comparison.tuned),
        "judgedBy": found.judged_by.value,
        "samples": _samples(found),
        "versions": versions(),
    }
    if TASKS[found.job.task].unchanged:
        before = unchanged(tuned)
        report["unchanged"] = figures_to_wire(before.figures, certainty_of(before))
    if base is None:
        return report
    both = [name for name in base.figures if name in tuned.figures]
    change = {name: change_to_wire(base.figures[name], tuned.figures[name], comparison.difference.get(name)) for name in both}
    return report | {"baseline": figures_to_wire(base.figures, comparison.base), "change": change}


def _answers(found: Evaluated) -> dict[str, Any]:
    limit = (found.job.evaluation.generation or Generation()).max_new_tokens
    sides = {"baseline": found.base, "final": found.tuned}
    counts = {name: (side.cut_answers, len(side.generated)) for name, side in sides.items() if side is not None and side.generated}
    return {"maxNewTokens": limit} | {name: {"cut": cut, "cutShare": cut / of} for name, (cut, of) in counts.items()}


def _samples(found: Evaluated) -> list[dict[str, str]]:
    base = in_turns(found.base.predictions, SAMPLES) if found.base is not None else ()
    return [
        {"prompt": answer.prompt, "reference": answer.references[0], "tuned": answer.answer}
        | ({"base": base[place].answer} if place < len(base) else {})
        for place, answer in enumerate(in_turns(found.tuned.predictions, SAMPLES))
    ]
