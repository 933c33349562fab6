"""A rehearsal in a process of its own says what one in this process says."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder
from trainer.preflight.passed import Rehearsed
from trainer.preflight.rehearsing import RehearsalProgram


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


def test_one_that_comes_to_no_verdict_is_no_pass(saved_model: Path, program: RehearsalProgram, capfd: pytest.CaptureFixture[str]) -> None:
    program.begin()
    torn = SimpleNamespace(model_dump_json=lambda **_: "{")
    with pytest.raises(RuntimeError, match=r"the rehearsal of .* ended with exit code 1"):
        program.rehearse(located_folder(saved_model), torn)
    assert "Traceback" in capfd.readouterr().err


def test_its_end_from_another_thread_frees_the_one_that_waits(saved_model: Path, program: RehearsalProgram) -> None:
    program.begin()
    faults: list[BaseException] = []

    def wait() -> None:
        try:
            program.rehearse(located_folder(saved_model), train_config())
        except RuntimeError as fault:
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
    with pytest.raises(RuntimeError, match="was not begun"):
        program.rehearse(located_folder(saved_model), train_config())
