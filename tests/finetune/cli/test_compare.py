"""`finetune compare`: what is refused at once, and what the program is asked for. Real runs are compared in test_ablations.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.using import Compare
from tests.finetune.cli.wholerun import finetune


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    return folders


def test_folders_that_are_not_there_and_pictures_of_no_kind_are_named_together(runs: list[Path]) -> None:
    done = finetune("compare", runs[0], "nowhere", "--plot", "curves.gif")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "DIR: there is no folder nowhere; name the folder that a run was written to",
        "--plot: curves.gif does not say which picture; give a name that ends in .svg or .png",
    ]


def test_one_run_is_compared_with_nothing(runs: list[Path]) -> None:
    done = finetune("compare", runs[0], f"{runs[0]}/")
    assert (done.returncode, done.stderr) == (2, "DIR: one run alone is compared with nothing; name the folders of two runs or more\n")


def test_a_folder_without_a_run_is_named(runs: list[Path]) -> None:
    done = finetune("compare", *runs)
    assert done.returncode == 2
    assert done.stderr == f"DIR: {runs[0]} holds no run: it has no run.json; name the folder that a run was written to\n"


def test_the_program_is_asked_for_all_of_it(runs: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from finetune.cli import compare
    from finetune.cli.command import command_parser

    asked: list[Any] = []
    monkeypatch.chdir(tmp_path)
    options = command_parser().parse_args(["compare", "one", "two", "--plot", "curves.png", "--json"])
    compare.compare(options, start=lambda _, arguments, environment: asked.extend(arguments))
    assert asked[-2] == "compare"
    wanted = Compare.model_validate(json.loads(asked[-1]))
    assert (wanted.folders, wanted.plot, wanted.as_json) == (runs, tmp_path / "curves.png", True)
