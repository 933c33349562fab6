"""What is checked of a model beside its rows: each answer comes when it is asked for, and so does each fault."""

import threading
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_learner
from trainer.model.weights import weights_digest
from trainer.preflight import aside
from trainer.preflight.aside import ModelChecks
from trainer.preflight.rehearsal import rehearse


@pytest.fixture
def job(tmp_path: Path):
    tiny_learner(tmp_path / "model")
    return train_config(tmp_path)


def test_the_answers_are_those_of_the_model(job) -> None:
    with ModelChecks(job) as model:
        assert model.located().path == Path(job.model.path)
        assert model.weights_digest() == weights_digest(model.located())
        assert model.rehearse() == ()


def test_a_model_that_passed_is_not_rehearsed_again(job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    rehearsed = []

    def counted(*given):
        rehearsed.append(given)
        return rehearse(*given)

    monkeypatch.setattr("trainer.preflight.rehearsal.rehearse", counted)
    for _ in range(2):
        with ModelChecks(job) as model:
            model.rehearse()
    assert len(rehearsed) == 1


def test_a_missing_model_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    with ModelChecks(train_config(tmp_path / "nothing")) as model:
        with pytest.raises(InputError, match=r"model\.path: there is no folder"):
            model.located()
        with pytest.raises(InputError, match=r"model\.path: there is no folder"):
            model.rehearse()


def test_other_faults_do_not_wait_for_a_model_that_takes_its_time(job, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(aside, "locate", lambda *_, **__: answered.wait(60))
    with pytest.raises(InputError, match="the rows"), ModelChecks(job):
        raise InputError("data.train", "the rows are wrong")
    answered.set()
