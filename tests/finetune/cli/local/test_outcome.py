"""The last words of a run say what its user has to know."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.record import STOPPED, Outcome, Result
from finetune.cli.local.configuration import Folders
from finetune.cli.local.outcome import Commands, Ended, LogTail, report_end, using_command_lines
from finetune.cli.local.screen import Screen
from tests.builders import train_config


class Said(Screen):
    """A screen that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


NOT_WRITTEN = "stopped on request; on the way: OSError: the checkpoint of step 14 could not be written: No space left on device"


@pytest.mark.parametrize(
    ("message", "before"),
    [
        pytest.param(STOPPED, [], id="a plain stop"),
        pytest.param(NOT_WRITTEN, [NOT_WRITTEN], id="a checkpoint that could not be written"),
        pytest.param("stopped; why:\nfirst\n\nsecond", ["stopped; why:", "  first", "  second"], id="several lines"),
    ],
)
def test_an_interruption_that_lost_something_says_so(tmp_path: Path, message: str, before: list[str]) -> None:
    ended = Ended(Outcome(result=Result.INTERRUPTED, reason="Interrupted", message=message), reported=True, last_checkpoint=12)
    screen = Said()

    report_end(ended, Folders(tmp_path, tmp_path), LogTail(tmp_path / "log", 0), Commands("finetune run job.yaml", ()), screen)

    assert screen.lines == [*before, "interrupted after the checkpoint at step 12; continue with: finetune run job.yaml"]


@pytest.mark.parametrize(("ranks", "more"), [(True, ", what each rank wrote in {0}/logs"), (False, "")], ids=["several ranks", "one rank"])
def test_a_failure_names_the_logs_that_there_are(tmp_path: Path, *, ranks: bool, more: str) -> None:
    if ranks:
        (tmp_path / "logs").mkdir()
    screen, ended = Said(), Ended(Outcome(result=Result.FAILED, reason="TrainingError", message="x"), reported=True, last_checkpoint=None)

    report_end(ended, Folders(tmp_path, tmp_path), LogTail(tmp_path / "log", 0), Commands("finetune run job.yaml", ()), screen)

    assert f"the full log is in {tmp_path}/trainer.log{more.format(tmp_path)}" in screen.lines


def test_an_interruption_of_a_further_run_names_it(tmp_path: Path) -> None:
    outcome = Outcome(result=Result.INTERRUPTED, reason="Interrupted", message=STOPPED)
    screen, ended = Said(), Ended(outcome, reported=True, last_checkpoint=12, run="ablation dropout")

    report_end(ended, Folders(tmp_path, tmp_path), LogTail(tmp_path / "log", 0), Commands("finetune run job.yaml", ()), screen)

    assert screen.lines == ["interrupted during ablation dropout; continue with: finetune run job.yaml"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["talk to it:       finetune chat 'my run'", "answer a prompt:  finetune predict 'my run' --prompt \"...\""]),
        (
            {"data__testFraction": 0.1},
            [
                "talk to it:       finetune chat 'my run'",
                "answer a prompt:  finetune predict 'my run' --prompt \"...\"",
                "measure it again: finetune evaluate --model 'my run' job.yaml --claim rows=/data",
            ],
        ),
        ({"task": "language-modeling"}, ["answer a prompt:  finetune predict 'my run' --prompt \"...\""]),
    ],
    ids=["chat", "with test rows", "without conversations"],
)
def test_a_run_ends_with_the_commands_that_use_its_model(changes: dict[str, Any], words: list[str]) -> None:
    assert list(using_command_lines(Path("job.yaml"), "my run", {"rows": Path("/data")}, train_config(**changes))) == words


def predict_command(output: Path, **changes: Any) -> str:
    [found] = [line for line in using_command_lines(Path("job.yaml"), str(output), {}, train_config(**changes)) if " predict " in line]
    return found.partition(str(output))[2].strip()


def test_the_command_of_a_prompt_has_what_the_task_needs_beside_it(tmp_path: Path) -> None:
    pairs = [("de", "en"), ("en", "de")]
    sources = [{"path": "/rows.csv", "sourceLanguage": source, "targetLanguage": target} for source, target in pairs]

    assert predict_command(tmp_path, task="question-answering") == '--prompt "..." --with context="..."'
    assert predict_command(tmp_path, task="translation", data={"train": sources}) == '--prompt "..." --from de --to en'
    assert predict_command(tmp_path, task="translation", data={"train": sources[:1]}) == '--prompt "..."'


@pytest.mark.parametrize("token", ["[MASK]", {"content": "[MASK]", "lstrip": False}])
def test_the_prompt_of_a_model_that_names_hidden_words_has_one(tmp_path: Path, token: Any) -> None:
    (tmp_path / "model" / "adapter").mkdir(parents=True)
    (tmp_path / "model" / "adapter" / "tokenizer_config.json").write_text(json.dumps({"mask_token": token}))
    (tmp_path / "report.json").write_text(json.dumps({"judgedBy": "maskedLoss"}))

    assert predict_command(tmp_path, task="language-modeling") == '--prompt "... [MASK] ..."'
