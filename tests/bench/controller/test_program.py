import json
from pathlib import Path

import pytest

from bench.controller import atrest, phases, program
from bench.controller.cluster import TooSlowError
from bench.surroundings import machine
from tests.bench.controller.test_results import OURS, REPORTS, REST, THEIR_REST, THEIRS


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose bench starts no cluster."""
    for name in ("docs", "bench/results"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "docs" / "figures.md").write_text(f"before\n{program.BEGIN}old\n{program.END}after\n")
    (tmp_path / "README.md").write_text(f"before\n{program.BEGIN}old\n{program.END}after\n")
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "README", tmp_path / "README.md")
    monkeypatch.setattr(program, "OUTPUT", tmp_path / "out")
    monkeypatch.setattr(program, "RESULTS", tmp_path / "bench/results/controller.json")
    monkeypatch.setattr(program, "SURROUNDINGS", tmp_path / "bench/results/controller-machine.json")
    monkeypatch.setattr(program, "DOCUMENT", tmp_path / "docs/figures.md")
    monkeypatch.setattr(program, "machine", lambda root: machine(Path.cwd()))
    monkeypatch.setattr(phases, "burst", lambda directory, sizes: (OURS, THEIRS, REPORTS))
    monkeypatch.setattr(atrest, "rest", lambda directory, sizes: (REST, THEIR_REST))
    return tmp_path


def test_a_whole_bench_writes_a_list_its_surroundings_and_the_table(checkout: Path) -> None:
    assert program.main([]) == 0
    entries = json.loads((checkout / "bench/results/controller.json").read_text())
    assert all(set(each) == {"name", "unit", "ours", "reference", "ratio"} for each in entries)
    assert json.loads((checkout / "bench/results/controller-machine.json").read_text())["requests"]["ours"] == OURS.requests
    document = (checkout / "docs/figures.md").read_text()
    assert document.startswith("before\n")
    assert document.endswith("after\n")
    assert "old" not in document
    assert "| 3 jobs at once: time to the child, p99 | s | 4.00 | 8.00 | 2.00 |" in document
    assert "| 3 jobs at once: time to the child, p99 | s | 4.00 | 8.00 | 2.00 |" in (checkout / "README.md").read_text()


@pytest.mark.parametrize("options", [["--quick"], ["--jobs", "10"], ["--at-rest", "10"]])
def test_a_part_of_the_bench_writes_no_results(checkout: Path, options: list[str]) -> None:
    assert program.main(options) == 0
    assert list((checkout / "bench/results").iterdir()) == []
    assert "old" in (checkout / "docs/figures.md").read_text()


def test_results_of_other_numbers_of_jobs_are_written_on_request(checkout: Path) -> None:
    assert program.main(["--jobs", "10", "--write"]) == 0
    assert (checkout / "bench/results/controller.json").is_file()


def test_a_part_alone_takes_the_other_from_the_last_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.main(["--quick"]) == 0

    def unexpected(directory: Path, sizes: phases.Sizes) -> tuple[phases.Burst, phases.Burst, phases.Reports]:
        raise AssertionError("measured again")

    monkeypatch.setattr(phases, "burst", unexpected)
    assert program.main(["--part", "rest", "--write"]) == 0
    assert "| 3 jobs at once: time to the child, p99 | s | 4.00 | 8.00 | 2.00 |" in (checkout / "docs/figures.md").read_text()


def test_what_does_not_happen_in_time_ends_the_bench(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_slow(directory: Path, sizes: phases.Sizes) -> tuple[atrest.Rest, atrest.Rest]:
        raise TooSlowError("after 900 s still not: all jobs were looked at")

    monkeypatch.setattr(atrest, "rest", too_slow)
    assert program.main([]) == 1
    assert "still not: all jobs were looked at" in capsys.readouterr().err
    assert list((checkout / "bench/results").iterdir()) == []


def test_sizes_are_those_that_are_asked_for() -> None:
    assert program.sizes_of(program.parse([])) == program.WHOLE
    assert program.sizes_of(program.parse(["--quick"])) == program.QUICK
    assert program.sizes_of(program.parse(["--jobs", "7"])).jobs == 7
