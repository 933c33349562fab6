"""Figures in files, and faults that stay with the sink that has them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trainer.reporting.sinks import FanOut, JsonLinesSink, TensorBoardSink

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_resumed_run_drops_the_lines_of_steps_that_it_trains_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = JsonLinesSink(path, 0)
    for step in (1, 2, 3, 4):
        first.log(step, {"trainLoss": 1.0 / step}, NOON)
    with path.open("a") as stream:
        stream.write('{"step": 5, "trainL')
    second = JsonLinesSink(path, 2)
    second.log(3, {"trainLoss": 0.5}, NOON)
    assert steps(path) == [1, 2, 3]
    assert json.loads(path.read_text().splitlines()[-1])["trainLoss"] == 0.5


def test_the_fault_of_one_sink_does_not_reach_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
            raise OSError("No space left on device")

    FanOut([Full, lambda: JsonLinesSink(tmp_path / "m.jsonl", 0)]).log(7, {"trainLoss": 1.0}, NOON)
    assert steps(tmp_path / "m.jsonl") == [7]
    assert "No space left on device" in caplog.text


def test_a_sink_that_cannot_be_opened_does_not_keep_the_others_from_their_figures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "board").touch()
    FanOut([lambda: TensorBoardSink(tmp_path / "board", 0), lambda: JsonLinesSink(tmp_path / "m.jsonl", 0)]).log(7, {}, NOON)
    assert steps(tmp_path / "m.jsonl") == [7]
    assert "could not be opened" in caplog.text


def test_a_figure_that_is_no_number_is_left_out_of_the_lines(tmp_path: Path) -> None:
    JsonLinesSink(tmp_path / "m.jsonl", 0).log(7, {"wer": float("nan"), "perplexity": float("inf"), "bleu": 2.0}, NOON)
    assert json.loads((tmp_path / "m.jsonl").read_text(), parse_constant=pytest.fail)["bleu"] == 2.0


def test_a_line_has_the_time_at_which_its_figures_were_known(tmp_path: Path) -> None:
    JsonLinesSink(tmp_path / "m.jsonl", 0).log(7, {}, NOON)
    assert json.loads((tmp_path / "m.jsonl").read_text())["time"] == "2026-01-02T12:00:00+00:00"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_the_figures_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    TensorBoardSink(tmp_path, 0).log(3, {"trainLoss": 1.5}, NOON)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value, event.wall_time) for event in events.Scalars("trainLoss")] == [(3, 1.5, NOON)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_forgets_the_steps_that_a_resumed_run_trains_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    before = TensorBoardSink(tmp_path, 0)
    for step in (1, 2, 3):
        before.log(step, {"trainLoss": 1.0}, NOON)
    [file] = tmp_path.iterdir()
    file.rename(file.with_name(file.name.replace("tfevents.", "tfevents.0", 1)))  # read first, as what was written in an earlier second
    TensorBoardSink(tmp_path, 2).log(3, {"trainLoss": 0.5}, NOON)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("trainLoss")] == [(1, 1.0), (2, 1.0), (3, 0.5)]
