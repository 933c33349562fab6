"""The report's entries on what validation showed of training and did to it: generalization, and early stopping.

Pure. Test: tests/trainer/reporting/test_steering.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.api.evaluation import EarlyStopping
from finetune.api.metrics import METRICS, MetricName, Score
from finetune.api.record import Generalization


def early_stopping_entry(
    rule: EarlyStopping | None, metric: MetricName, best: Score | None, stopped_at: int | None
) -> dict[str, Any] | None:
    """Return the entry on early stopping; None for a job without it. `stopped_at` is None where training ended by itself."""
    if rule is None:
        return None
    return {
        "stoppedAtStep": stopped_at,
        "bestStep": best.step if best is not None else None,
        "metric": metric.value,
        "best": best.value if best is not None else None,
        "patience": rule.patience,
        "minDelta": rule.min_delta,
    }


def generalization_entry(curve: Sequence[Generalization], rows: int, warnings: Sequence[str]) -> dict[str, Any] | None:
    """Return the entry on generalization; None where no validation measured it. `rows` is the number of sampled training rows.

    Of several warnings it has the last, which is what the run ended with.
    """
    if not curve:
        return None
    return {"rows": rows, "curve": [point.to_wire() for point in curve], "warning": warnings[-1] if warnings else None}


def steering_remarks(report: Mapping[str, Any]) -> list[str]:
    """Return a line on an early stop, and one on the losses of the last validation, of a report that has them."""
    lines, stopping, generalization = [], report.get("earlyStopping"), report.get("generalization")
    if stopping and stopping["stoppedAtStep"] is not None:
        best = METRICS[MetricName(stopping["metric"])].named(stopping["best"]) if stopping["best"] is not None else stopping["metric"]
        lines.append(f"Stopped early at step {stopping['stoppedAtStep']}: no improvement on {best} (step {stopping['bestStep']})")
    if generalization:
        last = generalization["curve"][-1]
        train, validation, gap = (last[name] for name in ("trainLoss", "validationLoss", "gap"))
        lines.append(f"Loss at step {last['step']}: {train:.4f} on training rows, {validation:.4f} on validation rows, gap {gap:+.4f}")
        lines += [f"Warning: {generalization['warning']}"] if generalization["warning"] else []
    return lines
