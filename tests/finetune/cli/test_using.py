"""`finetune predict` and `finetune chat` start the program that uses the model, with what was asked for."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import BadInputError
from finetune.api.tasks import TaskName
from finetune.api.using import Chat, Predict, WeightType
from finetune.cli.chat import chat
from finetune.cli.command import command_parser
from finetune.cli.predict import predict

COMMANDS = {"predict": (predict, Predict), "chat": (chat, Chat)}


def requested(*given: str) -> Any:
    """Return the request that a command line leads to."""
    begun: list[tuple[str, list[str], dict[str, str]]] = []
    command, kind = COMMANDS[given[0]]
    command(command_parser().parse_args(given), lambda program, arguments, environment: begun.append((program, arguments, environment)))
    [(program, arguments, environment)] = begun
    assert (program, arguments[1:5]) == (sys.executable, ["-P", "-m", "trainer.using", given[0]])
    assert environment["PYTHONSAFEPATH"] == "1"
    return kind.model_validate_json(arguments[5])


def test_a_prediction_is_asked_for_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)

    request = requested(
        "predict", "run", "--input", "in.csv", "--output", "out.jsonl", "--base", "--column", "prompt=question", "--beams", "3",
        "--max-new-tokens", "9", "--batch-size", "2", "--task", "chat", "--base-model", "base", "--dtype", "bfloat16",
    )  # fmt: skip

    assert (request.model.name, request.model.base_model) == (str(tmp_path / "run"), tmp_path / "base")
    assert (request.model.task, request.model.dtype) == (TaskName.CHAT, WeightType.BFLOAT16)
    assert (request.input, request.output) == (tmp_path / "in.csv", tmp_path / "out.jsonl")
    assert (request.base, request.decoding.beams, request.max_new_tokens, request.batch_size) == (True, 3, 9, 2)
    assert request.columns.to_wire() == {"prompt": "question"}


def test_a_prompt_may_have_other_columns_beside_it(tmp_path: Path) -> None:
    request = requested(
        "predict", str(tmp_path), "--prompt", "Where?", "--with", "system=Be brief.", "--temperature", "0.7", "--top-p", "0.9"
    )

    assert (request.prompt, request.beside) == ("Where?", {"system": "Be brief."})
    assert (request.decoding.temperature, request.decoding.top_p, request.decoding.seed) == (0.7, 0.9, 0)
    assert request.max_new_tokens is None


def test_a_talk_begins_with_a_system_message(tmp_path: Path) -> None:
    request = requested("chat", str(tmp_path), "--system", "Be brief.", "--base", "--temperature", "1", "--top-k", "5", "--seed", "7")

    assert (request.system, request.base) == ("Be brief.", True)
    assert (request.decoding.top_k, request.decoding.seed) == (5, 7)


def test_a_name_on_the_hub_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert requested("chat", "org/model").model.name == "org/model"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["chat", "runs/none"], r"^DIR: there is no folder /.*runs/none; name the folder of a run or of a model$"),
        (["chat", "/none/such/model"], r"^DIR: there is no folder /none/such/model"),
        (["predict", "runs", "--prompt", "a", "--column", "prompt=q"], r"^--column: has a meaning only beside --input"),
        (["predict", "runs", "--input", "a", "--with", "system=q"], r"^--with: has a meaning only beside --prompt"),
        (["predict", "runs", "--prompt", "a", "--with", "system"], r"^--with: 'system' is not of the form COLUMN=TEXT"),
        (["predict", "runs", "--input", "a", "--column", "anything=q"], r"^--column: there is no role 'anything'; roles are prompt, "),
        (["predict", "runs", "--prompt", "a", "--beams", "2", "--temperature", "1"], r"^--beams: search for the likeliest answer"),
        (["predict", "runs", "--prompt", "a", "--top-p", "0.5"], r"^--top-p: has no effect where the likeliest token is taken"),
        (["predict", "runs", "--prompt", "a", "--to", "en"], r"^--from: is missing beside --to; give both languages, or none"),
        (["chat", "runs", "--top-k", "5"], r"^--top-k: has no effect where the likeliest token is taken"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], words: str
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BadInputError, match=words):
        requested(*given)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--temperature", "-1", "argument --temperature: -1 is not at least 0"),
        ("--temperature", "nan", "argument --temperature: nan is not at least 0"),
        ("--top-p", "0", "argument --top-p: 0 is not above 0 and at most 1"),
        ("--top-k", "0", "argument --top-k: 0 is not at least 1"),
        ("--seed", "x", "argument --seed: 'x' is not a whole number"),
        ("--top-k", "abc", "argument --top-k: 'abc' is not a whole number"),
        ("--temperature", "warm", "argument --temperature: 'warm' is not a number"),
        ("--max-new-tokens", "0", "argument --max-new-tokens: 0 is not at least 1"),
    ],
)
def test_a_number_out_of_its_range_is_refused(option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        command_parser().parse_args(["chat", "run", option, value])

    assert raised.value.code == 2
    assert words in capsys.readouterr().err


def test_the_command_becomes_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "finetune.cli", "predict", str(tmp_path), "--prompt", "a job"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"DIR: {tmp_path} is neither a run nor a model")


def test_a_prompt_that_looks_like_json_is_a_text(tmp_path: Path) -> None:
    prompt = json.dumps({"prompt": "Grüße «an» 世界"})

    assert requested("predict", str(tmp_path), "--prompt", prompt).prompt == prompt
