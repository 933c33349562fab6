from pathlib import Path

import pytest
import torch

from bench.gpu import measure as module
from bench.gpu.figures import Measured
from bench.gpu.measure import PROGRAMS, Budget, ProgramFailedError, Results, measure
from bench.gpu.shapes import SMALL_SHAPES, Shape

CPU = torch.device("cpu")
SHAPE = SMALL_SHAPES[0]


def found(program: str, tokens: int = 100) -> Measured:
    return Measured("a shape", program, 50.0, 2.0, 0.4, 2**30, 0.5, (tokens,), (2.0,))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def measure_with(monkeypatch: pytest.MonkeyPatch, folder: Path, run: object, clock: Clock, seconds: float = 1000) -> Results:
    monkeypatch.setattr(module, "run_program", run)
    return measure([SHAPE], folder, CPU, Budget(seconds, clock), lambda _: None)


def test_every_program_is_measured_on_a_shape_and_nothing_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock
) -> None:
    def run(name: str, shape: Shape, folder: Path, *_: object) -> Measured:
        assert (folder / "model" / "config.json").is_file()
        assert (folder / "rows.jsonl").is_file()
        return found(PROGRAMS[name])

    results = measure_with(monkeypatch, tmp_path, run, clock)
    assert [figures.program for figures in results.figures] == list(PROGRAMS.values())
    assert (results.left_out, results.failed) == ([], False)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_fails_is_listed_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> None:
    def run(name: str, *_: object) -> Measured:
        if name == "bare":
            raise ProgramFailedError("bare loop: why")
        return found(PROGRAMS[name])

    results = measure_with(monkeypatch, tmp_path, run, clock)
    assert len(results.figures) == 2
    assert (results.left_out, results.failed) == (["bare loop: why"], True)


def test_a_program_that_saw_other_tokens_is_not_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> None:
    results = measure_with(monkeypatch, tmp_path, lambda name, *_: found(PROGRAMS[name], 100 + (name == "bare")), clock)
    assert [figures.program for figures in results.figures] == ["finetune", "HF Trainer"]
    assert "tokens of each step differ" in results.left_out[0]


def test_what_no_time_is_left_for_is_listed_and_is_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> None:
    def run(name: str, *_: object) -> Measured:
        clock.now += SHAPE.seconds
        return found(PROGRAMS[name])

    results = measure_with(monkeypatch, tmp_path, run, clock, seconds=1.2 * SHAPE.seconds)
    assert len(results.figures) == 1
    assert results.left_out == [f"{label} on {SHAPE.name}: no time was left" for label in ("bare loop", "HF Trainer")]
    assert not results.failed
