"""A generator prints, writes and checks its files, and a check names what to do."""

from pathlib import Path

import pytest

from finetune.system.generated import run_generator

COPIES = {Path("docs/a.md"): "first\n", Path("b.yaml"): "second\n"}


def generator(root: Path, *options: str) -> int:
    return run_generator("package.module", "Two files.", lambda root: COPIES, lambda: "printed\n", [*options, "--root", str(root)])


def test_what_was_written_is_up_to_date(tmp_path: Path) -> None:
    assert generator(tmp_path, "--write") == 0
    assert {path: (tmp_path / path).read_text() for path in COPIES} == COPIES
    assert generator(tmp_path, "--check") == 0


def test_a_check_names_the_files_that_are_missing_or_differ_and_the_command_that_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.yaml").write_text("edited\n")
    assert generator(tmp_path, "--check") == 1
    assert capsys.readouterr().err.splitlines() == [
        "docs/a.md: differs from the code; run `python -m package.module --write`",
        "b.yaml: differs from the code; run `python -m package.module --write`",
    ]
    assert (tmp_path / "b.yaml").read_text() == "edited\n"


def test_without_an_option_the_text_is_printed_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator(tmp_path) == 0
    assert capsys.readouterr().out == "printed\n"
    assert not list(tmp_path.iterdir())
