"""The program as the command starts it: a request comes in, answers and an exit code go out."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.api.record import EXIT_INTERRUPTED
from finetune.api.using import Chat, ChosenModel, Predict
from trainer.using.chat import PROMPT, UNLEARNED

COMMAND = [sys.executable, "-P", "-m", "trainer.using"]
ROOT = Path(__file__).resolve().parents[3]


def started(command: str, request: Any, **options: Any) -> "subprocess.Popen[str]":
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([*COMMAND, command, request.model_dump_json(by_alias=True)], text=True, env=environment, **pipes)


def ended(command: str, request: Any, given: str = "") -> tuple[int, str, str]:
    process = started(command, request)
    out, err = process.communicate(given, timeout=120)
    return process.returncode, out, err


def test_a_prompt_is_answered(run: Path) -> None:
    code, out, err = ended("predict", Predict(model=ChosenModel(name=str(run)), prompt="a job", max_new_tokens=5, base=True))

    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["base", "tuned"]


def test_lines_of_a_pipe_are_turns(run: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.jsonl"

    code, out, err = ended(
        "chat", Chat(model=ChosenModel(name=str(run)), max_new_tokens=5), f"a job\nrows\n/save {saved}\n/exit\nnot read\n"
    )

    assert code == 0
    assert err.splitlines() == [
        "talking to the whole model of the run support-bot", *["cut after 5 tokens (--max-new-tokens)"] * 2, UNLEARNED,
    ]  # fmt: skip
    assert len(out.splitlines()) == 2
    assert not saved.exists()


def wait_for_prompt(terminal: int) -> None:
    shown = b""
    while PROMPT.encode() not in shown:
        assert select.select([terminal], [], [], 120)[0], "no prompt came"
        shown += os.read(terminal, 1024)


TYPING = f"""
import signal, threading, time
from trainer.using.chat import typed

def end(*_): raise SystemExit({EXIT_INTERRUPTED})

signal.signal(signal.SIGTERM, end)
threading.Thread(target=time.sleep, args=[120], daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the thread takes it, which interrupts nothing in the main thread
list(typed(print))
"""


def test_a_signal_is_noticed_that_does_not_interrupt_the_wait_for_a_key() -> None:
    ours, theirs = pty.openpty()
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    process = subprocess.Popen([sys.executable, "-P", "-c", TYPING], stdin=theirs, stdout=theirs, env=environment)
    os.close(theirs)
    wait_for_prompt(ours)

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=120) == EXIT_INTERRUPTED
    os.close(ours)


def test_a_talk_on_a_terminal_ends_when_the_program_is_to_end(run: Path) -> None:
    ours, theirs = pty.openpty()
    process = started("chat", Chat(model=ChosenModel(name=str(run))), stdin=theirs, stdout=theirs)
    os.close(theirs)
    wait_for_prompt(ours)

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    os.close(ours)

    assert process.returncode == EXIT_INTERRUPTED
    assert err.endswith("interrupted\n")


@pytest.mark.parametrize("command", ["predict", "chat"])
def test_a_folder_that_is_no_model_is_invalid_input(tmp_path: Path, command: str) -> None:
    model = ChosenModel(name=str(tmp_path))
    request = Predict(model=model, prompt="a job") if command == "predict" else Chat(model=model)

    code, out, err = ended(command, request)

    assert (code, out) == (2, "")
    assert err.startswith(f"DIR: {tmp_path} is neither a run nor a model")


def test_what_is_answered_when_it_is_stopped_stays(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"row {number}\n\n" for number in range(20_000)))
    output = tmp_path / "out.jsonl"
    request = Predict(model=ChosenModel(name=str(run)), input=tmp_path / "in.txt", output=output, max_new_tokens=5, batch_size=1)
    process = started("predict", request)
    while not (output.exists() and output.read_bytes().count(b"\n") >= 4):
        assert process.poll() is None, process.communicate()

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)

    assert (process.returncode, err) == (3, "interrupted\n")
    lines = output.read_text().splitlines()
    assert [json.loads(line)["input"] for line in lines] == [f"row {number}" for number in range(len(lines))]
