"""What a run has left is found in its folder, also while it is written."""

from pathlib import Path

from tests.builders import train_config
from trainer.storage.ownership import Ownership
from trainer.using.compare import found_in, short_names


def test_runs_are_called_by_the_end_of_their_paths_that_differs() -> None:
    assert short_names([Path("/a/x"), Path("/a/y")]) == ["x", "y"]
    assert short_names([Path("/a/x"), Path("/b/x"), Path("/b/y")]) == ["a/x", "b/x", "y"]
    assert short_names([Path("/runs/x"), Path("/x")]) == ["runs/x", "//x"]


def test_a_run_that_is_being_trained_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    config = train_config(output={"directory": str(tmp_path)})
    Ownership.of(config, {"data.train": "rows"}).write(finished=False)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "trainLoss": 2.5}\n{"step": 2, "trainLoss": null}\n{"step": 3, "tra')
    run = found_in(tmp_path, "run")
    assert (run.finished, run.report, run.measured, run.steps) == (False, None, None, 2)
    assert run.curve("trainLoss") == [(1, 2.5)]
    assert run.lineage == config.lineage()
