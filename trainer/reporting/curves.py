"""Draws the learning curves of runs as one picture: the validation figure and the training loss over steps.

Imports matplotlib, which nothing else does, and only when something is drawn. Test: tests/trainer/reporting/test_compared.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.api.metrics import METRICS, MetricName
from trainer.reporting.compared import VALIDATION, FoundRun

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by people who see few colors (Okabe and Ito 2008)."""
SMOOTHED = 50
"""Points of the training loss that are drawn, about: each is a mean of the steps around it, because single steps are noise."""
LOSS = "trainLoss"
WIDTH_INCHES, HEIGHT_INCHES, LEGEND_INCHES = 8.0, 3.2, 0.22


def draw(runs: Sequence[FoundRun], metric: MetricName | None, file: Path) -> None:
    """Write the picture, in the form that the file's ending says: .svg or .png."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = [*([f"{VALIDATION}{metric.value}"] if metric is not None else []), LOSS]
    with mpl.rc_context({"svg.hashsalt": "finetune", "font.size": 9, "svg.fonttype": "none"}):
        height = HEIGHT_INCHES * len(panels) + LEGEND_INCHES * len(runs)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")  # without pyplot: no screen, no state
        axes: Any = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axis, name in zip(axes, panels, strict=True):
            for number, run in enumerate(runs):
                _line(axis, run, name, COLORS[number % len(COLORS)], "-" if number < len(COLORS) else "--")
            axis.set_ylabel(_label(name, metric))
            axis.grid(alpha=0.3)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
        axes[-1].set_xlabel("step")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=1, frameon=False)
        kind = file.suffix.removeprefix(".")
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def _line(axis: Any, run: FoundRun, name: str, color: str, style: str) -> None:
    points = run.curve(name)
    label = _literal(run.name if run.finished else f"{run.name} (not finished)")
    steps, values = [step for step, _ in points], [value for _, value in points]
    if name == LOSS:
        steps, values = smoothed(steps, values)
        axis.plot(steps, values, color=color, linestyle=style, linewidth=1.4, label=label)
        return
    axis.plot(steps, values, color=color, linestyle=style, linewidth=1.6, marker="o", markersize=3, label=label)
    best = ((run.report or {}).get("best") or {}).get("step")
    if best in steps:
        axis.plot([best], [values[steps.index(best)]], color=color, marker="o", markersize=9, fillstyle="none")


def _literal(text: str) -> str:
    """Return a name that matplotlib shows as it is: it reads what is between dollars as mathematics, and hides what begins with _."""
    escaped = text.replace("$", r"\$")
    return f"\u200b{escaped}" if escaped.startswith("_") else escaped


def _label(name: str, metric: MetricName | None) -> str:
    if name == LOSS or metric is None:
        return "training loss"
    facts = METRICS[metric]
    return f"{facts.heading}, validation\n({'lower' if facts.lower_is_better else 'higher'} is better; ring: the best)"


def smoothed(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Return means of neighboring steps, about `SMOOTHED` of them, each at the middle of its steps."""
    size = max(1, len(steps) // SMOOTHED)
    parts = [slice(start, start + size) for start in range(0, len(steps), size)]
    return [int(np.mean(steps[part])) for part in parts], [float(np.mean(values[part])) for part in parts]
