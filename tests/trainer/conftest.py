"""What the trainer's tests share: a small tokenizer, and property tests without a time limit."""

from typing import Any

import pytest
from hypothesis import settings

from tests.trainer.fixtures.tokenizers import byte_tokenizer

# What is tested is not speed, and a busy machine pauses for longer than hypothesis allows.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return byte_tokenizer()
