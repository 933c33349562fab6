"""A rehearsal that passed is not done again, unless something that its outcome depends on has changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders import train_config
from trainer.preflight.passed import Passed


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    return tmp_path / "model"


def test_what_passed_is_known_to_the_next_start(model: Path) -> None:
    assert Passed.of(train_config(), model).findings is None
    Passed.of(train_config(), model).remember(["a finding"])
    assert Passed.of(train_config(), model).findings == ("a finding",)


def test_a_torn_record_is_none(model: Path) -> None:
    Passed.of(train_config(), model).remember(["a finding"])
    Passed.of(train_config(), model).file.write_text('["a fin')
    assert Passed.of(train_config(), model).findings is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"method": {"lora": {"targetModules": ["q_proj"]}}}, id="the method"),
        pytest.param({"regularization": {"dropout": 0.1}}, id="dropout"),
        pytest.param({"training": {"epochs": 1, "gradientCheckpointing": "always"}}, id="recomputation"),
        pytest.param({"workers": {"workers": 2, "deepspeed": {"zeroStage": 3}}}, id="the engine"),
        pytest.param({"task": "language-modeling"}, id="the task"),
    ],
)
def test_another_job_has_passed_nothing(model: Path, changes: dict[str, Any]) -> None:
    Passed.of(train_config(), model).remember()
    assert Passed.of(train_config(**changes), model).findings is None


def test_another_model_or_library_has_passed_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Passed.of(train_config(), model).remember()
    monkeypatch.setattr("trainer.preflight.passed.version", lambda name: f"{name} of next year")
    assert Passed.of(train_config(), model).findings is None
    monkeypatch.undo()
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    assert Passed.of(train_config(), model).findings is None


def test_a_cache_that_cannot_be_written_is_done_without(model: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    Passed.of(train_config(), model).remember()
    assert Passed.of(train_config(), model).findings is None
