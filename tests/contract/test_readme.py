"""The README is true where a program can check it: its jobs, commands, fields, tasks and settings are those of the product."""

import functools
import re
import shlex
from pathlib import Path

import pytest
import yaml

from finetune.api.fielddocs import FieldDoc, document_resource, find
from finetune.api.spec import FineTuneJobSpec
from finetune.cli.command import command_parser, run_command
from finetune.cli.jobfile.reading import read_job_file
from tests.repository import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
JOBS = [text for language, text in BLOCKS if language == "yaml" and "kind: FineTuneJob" in text]
INLINE = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL))))
TYPED = [line.removeprefix("$ ") for _, text in BLOCKS for line in text.splitlines() if line.startswith("$ ")]
COMMANDS = sorted({text for text in [*INLINE, *TYPED] if text.startswith("finetune ") and len(text.split()) > 2})
SECTIONS = {field.alias or name for name, field in FineTuneJobSpec.model_fields.items()}
FIELDS = sorted({text for text in INLINE if re.fullmatch(r"[a-z]\w*(\.[a-z]\w*)+", text) and text.split(".")[0] in SECTIONS})
STATUS_FIELDS = sorted(set(re.findall(r"\.(status(?:\.[a-z]\w*)+)", README)))
SETTINGS = sorted(
    {*re.findall(r"--set ([\w.]+)=", README), *(text for text in INLINE if re.fullmatch(r"(jobs|trainer)\.(?!log)\w+", text))}
)


def block_after(words: str) -> str:
    """Return the first fenced block behind `words`."""
    return re.split(r"^```\w*\n", README[README.index(words) :], maxsplit=2, flags=re.MULTILINE)[1].split("```")[0]


def test_jobs_are_shown() -> None:
    assert JOBS


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_valid_as_it_stands(job: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(job)
    assert read_job_file(tmp_path / "job.yaml").name


def test_finetune_init_prints_and_writes_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text(block_after("`reviews.csv`:"))
    command, *printed = block_after("says what it guessed:").splitlines()
    assert command == "$ finetune init reviews.csv"
    assert run_command(["init", "reviews.csv"]) == 0
    assert capsys.readouterr().out.splitlines() == printed
    written = [line.split("  # ")[0] for line in Path("job.yaml").read_text().splitlines() if not line.startswith("#")]
    assert written == JOBS[0].splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_finetune_takes(command: str) -> None:
    assert command_parser().parse_args(shlex.split(command)[1:])


def test_commands_are_quoted() -> None:
    assert {command.split()[1] for command in COMMANDS} >= {"init", "check", "run", "export", "explain"}


@functools.cache
def documented() -> FieldDoc:
    return document_resource()


@pytest.mark.parametrize("field", [*FIELDS, *STATUS_FIELDS])
def test_a_field_is_one_of_the_resource(field: str) -> None:
    assert find(documented(), field).path


def test_fields_of_spec_and_status_are_named() -> None:
    assert FIELDS
    assert STATUS_FIELDS


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_one_of_the_chart(setting: str) -> None:
    values = yaml.safe_load((REPOSITORY / "charts/finetune-operator/values.yaml").read_text())
    for name in setting.split("."):
        assert name in values
        values = values[name]


def test_the_number_of_rows_of_the_quickstart_is_right(quickstart_rows: dict[str, list[dict[str, str]]]) -> None:
    assert f"{len(quickstart_rows['train'])} training rows" in README
