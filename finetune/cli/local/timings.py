"""The budget of a run as a table: how long each stage took. Pure. Tests: tests/finetune/cli/local/test_timings.py."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from finetune.api.timings import StageTiming, Timings

WIDTHS = (34, 8, 9, 9, 7)
HEADINGS = ("stage", "in", "from s", "took s", "CPU s")


def budget(report: Mapping[str, Any] | None, whole_seconds: float | None = None) -> list[str]:
    """Return the lines of the table, from a run's report; a single one where it has no timings.

    `whole_seconds` is how long the command took in all; None for a run of an earlier command, of which only the report is known.
    """
    try:
        timings = Timings.model_validate((report or {})["timings"])
    except (KeyError, ValidationError):
        return ["timings: none; a run has them once it has written its report"]
    table = [_line(HEADINGS), *(_line(_cells(timing)) for timing in timings.stages)]
    if whole_seconds is None:
        return [*table, _line(("until the report", "", "0.0", f"{timings.seconds:.1f}", ""))]
    rest = max(0.0, whole_seconds - timings.seconds)
    return [
        *table,
        _line(("after the report", "", f"{timings.seconds:.1f}", f"{rest:.1f}", "")),
        _line(("whole", "", "0.0", f"{whole_seconds:.1f}", "")),
    ]


def _cells(timing: StageTiming) -> tuple[str, ...]:
    name = timing.stage.value
    if timing.times > 1:
        name += f", {timing.times} times"
    if timing.beside:
        name += ", beside others"
    cpu = "" if timing.cpu_seconds is None else f"{timing.cpu_seconds:.1f}"
    return name, timing.process, f"{timing.start_seconds:.1f}", f"{timing.seconds:.1f}", cpu


def _line(cells: tuple[str, ...]) -> str:
    texts = [cell.ljust(width) if index < 2 else cell.rjust(width) for index, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))]
    return f"  {''.join(texts)}".rstrip()
