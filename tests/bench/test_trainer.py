import json
from pathlib import Path
from typing import Any

import pytest

from bench import trainer
from bench.comparison import OURS, entries_of
from bench.figures import Figures
from bench.scenarios import SCENARIOS, Scenario

FIGURES = Figures(
    name=OURS, steps=2, tokens_per_second=100.0, start_to_first_step_seconds=20.0, peak_memory_bytes=2**30, cpu_seconds=60.0,
    total_seconds=40.0, tokens=(50, 60), losses=(2.0, 1.5),
)  # fmt: skip


class FakeBench:
    """Programs that all do the same, at once."""

    def __init__(self, *_: Any) -> None:
        pass

    def measure(self, program: str, scenario: Scenario) -> Figures:
        return FIGURES


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose bench starts no program."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "figures.md").write_text(f"before\n{trainer.BEGIN}old\n{trainer.END}after\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "bench").mkdir()
    monkeypatch.setattr(trainer, "Bench", FakeBench)
    monkeypatch.setattr(trainer, "ROOT", tmp_path)
    monkeypatch.setattr(trainer, "OUTPUT", tmp_path / "out")
    monkeypatch.setattr(trainer, "RESULTS", tmp_path / "bench" / "results" / "trainer.json")
    monkeypatch.setattr(trainer, "SURROUNDINGS", tmp_path / "bench" / "results" / "trainer-machine.json")
    monkeypatch.setattr(trainer, "DOCUMENT", tmp_path / "docs" / "figures.md")
    return tmp_path / "bench" / "results" / "trainer.json"


def test_a_whole_bench_writes_a_list_its_surroundings_and_the_table(results: Path) -> None:
    assert trainer.main([]) == 0
    entries = json.loads(results.read_text())
    assert {entry["ratio"] for entry in entries} == {1.0}
    assert {entry["repeats"] for entry in entries} == {3}
    surroundings = json.loads(results.with_name("trainer-machine.json").read_text())
    assert surroundings["versions"]["torch"]
    assert all(isinstance(run["load"], float) for run in surroundings["runs"])
    document = (results.parents[2] / "docs" / "figures.md").read_text()
    assert document.startswith("before\n")
    assert document.endswith("after\n")
    assert "old" not in document
    assert "| LoRA packed: tokens per second | tokens/s | 100 |" in document


@pytest.mark.parametrize("options", [["--quick"], ["--only", "LoRA packed"]])
def test_a_part_of_the_bench_writes_no_results(options: list[str], results: Path) -> None:
    assert trainer.main(options) == 0
    assert not results.exists()


@pytest.mark.parametrize(("committed", "code"), [(1.05, 0), (1.2, 1)])
def test_a_check_fails_on_a_regression_and_writes_nothing(committed: float, code: int, results: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    entries = [each.to_wire() for each in entries_of("LoRA packed", {OURS: [FIGURES], "HF Trainer": [FIGURES]})]
    results.parent.mkdir()
    results.write_text(before := json.dumps([entry | {"ratio": committed} for entry in entries]))
    assert trainer.main(["--check"]) == code
    assert results.read_text() == before
    assert ("LoRA packed: tokens per second vs HF Trainer: ratio 1.000, committed 1.200" in capsys.readouterr().out) == bool(code)


@pytest.mark.parametrize(("only", "code"), [(["--only", "LoRA packed"], 1), (["--only", "LoRA padded"], 0)])
def test_a_check_fails_when_a_committed_entry_of_a_chosen_scenario_was_not_measured(
    only: list[str], code: int, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [each.to_wire() for each in entries_of("LoRA packed", {OURS: [FIGURES], "a trainer of old": [FIGURES]})]
    results.parent.mkdir()
    results.write_text(json.dumps(entries))
    assert trainer.main(["--check", *only]) == code
    assert ("LoRA packed: tokens per second vs a trainer of old: committed, but not measured" in capsys.readouterr().out) == bool(code)


def test_a_check_without_committed_figures_says_what_to_do(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trainer.main(["--check"]) == 1
    assert "run `make bench` first" in capsys.readouterr().err


def test_a_reference_that_is_not_installed_is_named(results: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr("bench.scenarios.importlib.util.find_spec", lambda _: None)
    assert trainer.main([]) == 0
    assert "TRL SFTTrainer is not measured" in capsys.readouterr().out
    assert not any("TRL" in entry["name"] for entry in json.loads(results.read_text()))
    assert "TRL" in json.loads(results.with_name("trainer-machine.json").read_text())["missing"][0]


def test_an_unknown_scenario_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match="--only nonsense: there are LoRA padded, LoRA packed"):
        list(trainer.chosen(["nonsense"]))
    assert list(trainer.chosen(None)) == list(SCENARIOS)


def test_a_document_without_the_marks_is_not_touched() -> None:
    with pytest.raises(ValueError, match="marks of the table are missing"):
        trainer.with_table("text", "table")


def test_the_committed_document_has_the_marks() -> None:
    assert "a table" in trainer.with_table(trainer.DOCUMENT.read_text(), "a table")
