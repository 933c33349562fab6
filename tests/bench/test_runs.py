import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import runs
from bench.comparison import OURS, DisagreementError
from bench.processes import Finished
from bench.runs import Bench, run_all
from bench.scenarios import QUICK, Scenario

ONE, TWO = Scenario("one"), Scenario("two, packed", packed=True, workers=2)
START = 1_700_000_000.0


class Started:
    """Plays the programs: each leaves the files that a real one would."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, str]]] = []
        self.tokens: dict[str, int] = {}

    def __call__(self, command: list[str], log: Path, environment: dict[str, str]) -> Finished:
        self.calls.append((command, environment))
        output = Path(command[command.index("--output") + 1])
        if "finetune.cli" in command:
            (output / ".finetune" / "configmaps" / "rows").mkdir(parents=True)
            (output / ".finetune" / "configmaps" / "rows" / "train.csv").write_text("rows")
            config = {"data": {"train": [{"path": str(output / ".finetune" / "configmaps" / "rows" / "train.csv")}]}}
            (output / ".finetune" / "config.json").write_text(json.dumps(config))
        else:
            config = json.loads(Path(command[command.index("--config") + 1]).read_text())
            assert Path(config["data"]["train"][0]["path"]).read_text() == "rows"
        lines: list[dict[str, Any]] = [
            {"step": step, "time": f"2026-01-01T00:00:{step:02}+00:00", "trainLoss": 1.0, "tokensSeen": step * self.tokens.get(log.stem, 7)}
            for step in range(1, 6)
        ]
        (output / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (output / "model").mkdir()
        return Finished(START, 9.0, 2**30, 5.0)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    fake = Started()
    monkeypatch.setattr(runs, "run", fake)
    return fake


def test_references_train_on_the_rows_and_settings_that_ours_left_and_nothing_large_is_kept(started: Started, tmp_path: Path) -> None:
    bench = Bench(QUICK, tmp_path, {"bare": "bare loop"}, cores=4)
    found, records = run_all(bench, [ONE, TWO], [OURS, "bare loop"], 2, tmp_path / "runs.jsonl")
    assert [(record["scenario"], record["name"]) for record in records[:4]] == [
        ("one", OURS), ("one", "bare loop"), ("two, packed", OURS), ("two, packed", "bare loop"),
    ]  # fmt: skip
    assert len(found["one"]["bare loop"]) == 2
    assert [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()] == json.loads(json.dumps(records))
    assert not list(tmp_path.rglob("model"))


def test_every_program_gets_the_same_threads_for_each_worker(started: Started, tmp_path: Path) -> None:
    bench = Bench(QUICK, tmp_path, {"bare": "bare loop"}, cores=4)
    run_all(bench, [ONE, TWO], [OURS, "bare loop"], 1, tmp_path / "runs.jsonl")
    threads = [environment.get("OMP_NUM_THREADS") for _, environment in started.calls]
    assert threads == ["4", "4", "2", "2"]
    assert {environment["GOMP_SPINCOUNT"] for _, environment in started.calls} == {"1000"}


def test_a_scenario_leaves_out_the_references_it_names(started: Started, tmp_path: Path) -> None:
    bench = Bench(QUICK, tmp_path, {"bare": "bare loop"}, cores=4)
    found, _ = run_all(bench, [replace(ONE, without=("bare loop",)), TWO], [OURS, "bare loop"], 1, tmp_path / "runs.jsonl")
    assert [list(found[scenario.name]) for scenario in (ONE, TWO)] == [[OURS], [OURS, "bare loop"]]


def test_a_repeat_that_would_end_too_late_does_not_begin(started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter(range(0, 1000, 10))
    monkeypatch.setattr(runs.time, "monotonic", lambda: float(next(turns)))
    bench = Bench(QUICK, tmp_path, {"bare": "bare loop"}, cores=4)
    found, records = run_all(bench, [ONE], [OURS], 9, tmp_path / "runs.jsonl", seconds=31)
    assert len(found["one"][OURS]) == max(record["repeat"] for record in records) == 3


def test_a_program_that_saw_other_tokens_ends_the_bench(started: Started, tmp_path: Path) -> None:
    started.tokens["bare"] = 8
    with pytest.raises(DisagreementError, match="tokens of each step differ"):
        run_all(Bench(QUICK, tmp_path, {"bare": "bare loop"}, cores=2), [ONE], [OURS, "bare loop"], 1, tmp_path / "runs.jsonl")
