"""What is checked of a model beside its rows: each answer comes when it is asked for, and so does each fault."""

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.ggufs import located_gguf, write_gguf
from trainer.model import ggufmodel
from trainer.model.weights import weights_digest
from trainer.preflight import aside
from trainer.preflight.aside import ModelChecks
from trainer.preflight.rehearsal import rehearse
from trainer.preflight.rehearsing import RehearsalProgram

BOTH = pytest.mark.parametrize("here", [pytest.param(True, id="in this program"), pytest.param(False, id="in a program of its own")])


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    tiny_learner(tmp_path / "model")
    return train_config(tmp_path)


def refuse_rows(checks: ModelChecks, once: threading.Event) -> None:
    with checks:
        assert once.wait(60)
        raise InputError("data.train", "the rows are wrong")


@BOTH
def test_the_answers_are_those_of_the_model(job, here: bool) -> None:
    with ModelChecks(job, rehearse_here=here) as model:
        assert model.located().path == Path(job.model.path)
        assert model.weights_digest() == weights_digest(model.located())
        assert model.rehearse() == ()


@BOTH
def test_a_model_that_cannot_be_trained_as_asked_is_refused(job, here: bool, tmp_path: Path) -> None:
    wanted = train_config(tmp_path, method={"lora": {"targetModules": ["query"]}})
    with ModelChecks(wanted, rehearse_here=here) as model, pytest.raises(InputError, match=r"method\.lora\.targetModules\[0\]: no module"):
        model.rehearse()


def test_who_rehearses_is_what_the_caller_said(job, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    monkeypatch.setattr(RehearsalProgram, "begin", lambda program: begun.append(program))
    with ModelChecks(job, rehearse_here=True) as model:
        model.weights_digest()
        assert not begun
    with ModelChecks(job, rehearse_here=False) as model:
        model.weights_digest()
        assert len(begun) == 1


def test_the_program_that_rehearses_has_ended_when_the_block_was_left(job, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    programs: list[RehearsalProgram] = []
    begin, close, closed = RehearsalProgram.begin, RehearsalProgram.close, threading.Event()

    def noticed(program: RehearsalProgram) -> None:
        begin(program)
        programs.append(program)
        begun.set()

    def noticed_at_close(program: RehearsalProgram) -> None:
        close(program)
        closed.set()

    monkeypatch.setattr(RehearsalProgram, "begin", noticed)
    monkeypatch.setattr(RehearsalProgram, "close", noticed_at_close)
    with pytest.raises(InputError, match="the rows"):
        refuse_rows(ModelChecks(job, rehearse_here=False), once=begun)
    assert closed.wait(60)
    process = programs[0]._process
    assert process is not None
    assert process.returncode == -9


@BOTH
def test_a_model_that_passed_is_not_rehearsed_again(job, monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    rehearsed = []

    def counted(*given):
        rehearsed.append(given)
        return rehearse(*given[-2:])

    monkeypatch.setattr("trainer.preflight.rehearsal.rehearse", counted)
    monkeypatch.setattr(RehearsalProgram, "rehearse", counted)
    for _ in range(2):
        with ModelChecks(job, rehearse_here=here) as model:
            model.rehearse()
    assert len(rehearsed) == 1


@BOTH
def test_a_missing_model_is_told_when_it_is_asked_for(tmp_path: Path, here: bool) -> None:
    with ModelChecks(train_config(tmp_path / "nothing"), rehearse_here=here) as model:
        with pytest.raises(InputError, match=r"model\.path: there is no folder"):
            model.located()
        with pytest.raises(InputError, match=r"model\.path: there is no folder"):
            model.rehearse()


def test_other_faults_do_not_wait_for_a_model_that_takes_its_time(job, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(aside, "locate", lambda *_, **__: answered.wait(60))
    with pytest.raises(InputError, match="the rows"), ModelChecks(job, rehearse_here=True):
        raise InputError("data.train", "the rows are wrong")
    assert not answered.is_set()
    answered.set()


def test_a_conversion_that_nobody_needs_any_more_stops_and_leaves_nothing(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands before the second tensor when the rows are refused."""
    located, models = located_gguf(write_gguf(tmp_path / "model.gguf")), tmp_path / "cache" / "models"
    monkeypatch.setattr(aside, "locate", lambda *_, **__: located)
    model, reached = ModelChecks(job, rehearse_here=True), threading.Event()
    in_our_order, done = ggufmodel._in_our_order, []

    def noticed(*given):
        done.append([path.suffix for path in models.iterdir() if path.is_dir()])
        reached.set()
        assert model._left.wait(60)
        return in_our_order(*given)

    monkeypatch.setattr(ggufmodel, "_in_our_order", noticed)
    with pytest.raises(InputError, match="the rows"):
        refuse_rows(model, once=reached)
    assert [path.suffix for path in models.iterdir()] == [".lock"]
    assert done == [[".finetune-staged"]]
    with pytest.raises(CancelledError):
        model.weights_digest()
