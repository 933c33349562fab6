"""A rehearsal in a process of its own says what one in this process says."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from finetune.api.errors import InputError
from finetune.api.record import REASON_GENERIC, REASON_MEMORY, REASON_STORAGE
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder
from trainer.driver.exits import reason_of
from trainer.preflight import rehearsing
from trainer.preflight.passed import Rehearsed
from trainer.preflight.rehearsing import RehearsalProgram
from trainer.preflight.unrehearsed import RehearsalError


@pytest.fixture
def program():
    program = RehearsalProgram()
    yield program
    program.close()


def test_it_passes_or_raises_what_the_rehearsal_raises(saved_model: Path, program: RehearsalProgram) -> None:
    program.begin()
    assert program.rehearse(located_folder(saved_model), train_config()) == Rehearsed(built=True)

    refused = RehearsalProgram()
    refused.begin()
    with pytest.raises(InputError, match=r"method\.lora\.targetModules\[0\]: no module of the model is called query; ") as caught:
        refused.rehearse(located_folder(saved_model), train_config(method={"lora": {"targetModules": ["query"]}}))
    assert caught.value.field == "method.lora.targetModules[0]"
    refused.close()


def test_one_that_comes_to_no_verdict_says_what_went_wrong(
    saved_model: Path, program: RehearsalProgram, capfd: pytest.CaptureFixture[str]
) -> None:
    program.begin()
    torn = SimpleNamespace(model_dump_json=lambda **_: "{")
    with pytest.raises(RehearsalError, match=r"the rehearsal of .* failed: ValidationError: .*\n? *Invalid JSON") as caught:
        program.rehearse(located_folder(saved_model), torn)
    assert reason_of(caught.value) == REASON_GENERIC
    assert "Traceback" in capfd.readouterr().err


# The program, in which the rehearsal is replaced, and so needs no torch.
REPLACED = """
import os, signal, sys
from types import SimpleNamespace
from trainer.preflight import rehearsing
from trainer.preflight.passed import Rehearsed

def replaced(located, config):
    {work}

sys.modules["trainer.preflight.rehearsal"] = SimpleNamespace(rehearse=replaced)
rehearsing.main()
"""


@pytest.mark.parametrize(
    ("work", "message", "reason"),
    [
        pytest.param("raise MemoryError('no room')", "failed: MemoryError: no room", REASON_MEMORY, id="memory"),
        pytest.param("raise OSError(28, 'No space')", r"failed: OSError: \[Errno 28\] No space", REASON_STORAGE, id="a full disk"),
        pytest.param("raise LookupError('lost')", "failed: LookupError: lost", REASON_GENERIC, id="anything else"),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGKILL)",
            "was killed; the machine has probably run out of memory",
            REASON_MEMORY,
            id="killed from outside",
        ),
        pytest.param("os._exit(3)", "ended with exit code 3, without a verdict", REASON_GENERIC, id="it ends by itself"),
    ],
)
def test_the_reason_of_a_failure_comes_back(
    saved_model: Path, program: RehearsalProgram, monkeypatch: pytest.MonkeyPatch, work: str, message: str, reason: str
) -> None:
    monkeypatch.setattr(rehearsing, "COMMAND", (sys.executable, "-c", REPLACED.format(work=work)))
    program.begin()
    with pytest.raises(RehearsalError, match=f"the rehearsal of .* {message}") as caught:
        program.rehearse(located_folder(saved_model), train_config())
    assert reason_of(caught.value) == reason


def test_what_is_printed_meanwhile_does_not_tear_the_verdict(
    saved_model: Path, program: RehearsalProgram, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    work = "print('words of Python', flush=True); os.write(1, b'words of a library'); return Rehearsed(built=True)"
    monkeypatch.setattr(rehearsing, "COMMAND", (sys.executable, "-c", REPLACED.format(work=work)))
    program.begin()
    assert program.rehearse(located_folder(saved_model), train_config()) == Rehearsed(built=True)
    said = capfd.readouterr().err
    assert "words of Python" in said
    assert "words of a library" in said


def test_its_end_from_another_thread_frees_the_one_that_waits(saved_model: Path, program: RehearsalProgram) -> None:
    program.begin()
    faults: list[BaseException] = []

    def wait() -> None:
        try:
            program.rehearse(located_folder(saved_model), train_config())
        except RehearsalError as fault:
            faults.append(fault)

    waiting = threading.Thread(target=wait)
    waiting.start()
    program.end()
    waiting.join(60)
    assert len(faults) == 1
    assert "exit code -9" in str(faults[0])


def test_none_is_begun_after_the_end(saved_model: Path, program: RehearsalProgram) -> None:
    program.end()
    program.begin()
    with pytest.raises(RehearsalError, match="was not begun"):
        program.rehearse(located_folder(saved_model), train_config())
