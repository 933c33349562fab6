import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.figures import figures_of
from bench.processes import Finished

START = datetime(2026, 1, 1, tzinfo=UTC)
FINISHED = Finished(started=START.timestamp(), seconds=50, peak_bytes=1024, cpu_seconds=70)


def metrics_file(folder: Path, seconds_of_steps: list[float]) -> Path:
    """Each step has 100 tokens; a validation stands between the lines of the steps, as in a real run."""
    lines = [
        {"step": step, "time": (START + timedelta(seconds=second)).isoformat(), "tokensSeen": 100 * step, "trainLoss": 3.0 - step / 2}
        for step, second in enumerate(seconds_of_steps, start=1)
    ]
    lines.insert(2, {"step": 2, "time": START.isoformat(), "validation/perplexity": 9.0})
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_rate_leaves_out_the_slow_first_steps(tmp_path: Path) -> None:
    figures = figures_of("a run", metrics_file(tmp_path, [10, 19, 20, 22, 24]), FINISHED)
    assert figures.tokens_per_second == pytest.approx(200 / 4)


def test_the_time_to_the_first_step_counts_from_the_start_of_the_program(tmp_path: Path) -> None:
    figures = figures_of("a run", metrics_file(tmp_path, [10, 19, 20, 22, 24]), FINISHED)
    assert figures.start_to_first_step_seconds == pytest.approx(10)
    assert figures.steps == 5


def test_tokens_and_losses_are_those_of_each_step(tmp_path: Path) -> None:
    figures = figures_of("a run", metrics_file(tmp_path, [10, 19, 20, 22, 24]), FINISHED)
    assert figures.tokens == (100,) * 5
    assert figures.losses == (2.5, 2.0, 1.5, 1.0, 0.5)


def test_too_few_steps_for_a_rate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 steps are too few for a rate, 4 are needed"):
        figures_of("a run", metrics_file(tmp_path, [10, 19, 20]), FINISHED)
