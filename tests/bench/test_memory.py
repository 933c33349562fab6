import json
import os
from pathlib import Path

import pytest

from bench.memory import MIB, STEPS, Run, anonymous_bytes, role_of, steps_done, table_of, write_rows


@pytest.mark.parametrize(("task", "columns"), [("chat", {"prompt", "completion"}), ("language-modeling", {"text"})])
def test_the_file_is_as_large_as_wanted_and_the_same_each_time(tmp_path: Path, task: str, columns: set[str]) -> None:
    count = write_rows(tmp_path / "a", 50_000, task)
    write_rows(tmp_path / "b", 50_000, task)
    rows = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert 50_000 <= (tmp_path / "a").stat().st_size < 52_000
    assert len(rows) == len({json.dumps(row) for row in rows}) == count
    assert all(set(row) == columns for row in rows)


def test_a_mapped_file_is_no_memory_of_a_process_and_an_array_is(tmp_path: Path) -> None:
    import numpy as np

    before = anonymous_bytes(os.getpid())
    block = np.ones(64 * MIB, np.uint8)
    assert anonymous_bytes(os.getpid()) - before > 60 * MIB
    block.tofile(tmp_path / "file")
    del block
    freed = anonymous_bytes(os.getpid())
    assert int(np.memmap(tmp_path / "file", np.uint8, "r").sum()) == 64 * MIB
    assert anonymous_bytes(os.getpid()) - freed < 10 * MIB


def test_only_steps_of_this_run_count(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert steps_done(metrics, 0.0) == 0
    metrics.write_text('{"step": 1, "trainLoss": 2.0}\n{"step": 1, "validation/perplexity": 3.0}\n{"step": 2, "trainLoss": 1.0}\n')
    assert steps_done(metrics, 0.0) == 2
    assert steps_done(metrics, metrics.stat().st_mtime + 1) == 0


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["python", "-P", "-m", "trainer", "--config", "c.json"], "driver"),
        (["python", "-P", "-m", "finetune.cli.local.supervisor", "python", "-P", "-m", "trainer", "--config", "c.json"], None),
        (["python", "-m", "finetune.cli", "run", "job.yaml"], None),
        (["python", "-P", "-m", "trainer.model.gguf", "a", "b"], None),
        (["ray::RayTrainWorker.execute"], "rank"),
        (["ray::TrainController"], None),
        ([], None),
    ],
)
def test_only_driver_and_ranks_are_measured(command: list[str], role: str | None) -> None:
    assert role_of(command) == role


def test_memory_is_noted_before_the_first_step_at_the_last_one_and_at_its_peak() -> None:
    run = Run("a run")
    for steps, seconds, size in [(0, 1.0, 10), (0, 2.0, 40), (0, 3.0, 20), (1, 4.0, 25), (STEPS, 5.0, 30), (STEPS, 6.0, 35)]:
        run.add({"rank 0": size}, steps, seconds)
    assert (run.before_first_step, run.at_last_step, run.peak) == ({"rank 0": 20}, {"rank 0": 30}, {"rank 0": 40})
    assert (run.seconds_to_first_step, len(run.load)) == (4.0, 3)


def test_the_table_shows_what_the_data_add() -> None:
    few = Run("few", 10.0, [1.0], {"rank 0": 100 * MIB}, {"rank 0": 90 * MIB}, {"rank 0": 95 * MIB})
    many = Run("many", 20.0, [1.0, 2.0], {"rank 0": 150 * MIB}, {"rank 0": 91 * MIB}, {"rank 0": 95 * MIB})
    cells = [list(column.cells) for column in table_of("title", few, [many]).columns]
    assert cells[0][:2] == ["start to first step, s", "load average until then"]
    assert cells[2] == ["20", "1.5", "91 (+1)", "95 (+0)", "150 (+50)"]
