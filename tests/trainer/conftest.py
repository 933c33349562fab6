"""What the trainer's tests share: a small tokenizer and model, and an environment without a hub, store or cache of the user."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.trainer.fixtures.causal import save_tiny_model
from tests.trainer.fixtures.tokenizers import byte_tokenizer

# What is tested is not speed, and a busy machine pauses for longer than hypothesis allows.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

VARIABLES = ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "FINETUNE_MODEL_STORE", "FINETUNE_HUB_TIMEOUT_SECONDS")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny tied model and its tokenizer; tests copy it before they change it."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all tests of a session may keep; the user's own cache stays as it is."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, session_cache: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setenv("FINETUNE_CACHE", str(session_cache))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
