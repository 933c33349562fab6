"""What transformers lists of its models, as a digest that two processes can compare; it imports nothing but the standard library."""

import hashlib
import json
from pathlib import Path
from types import ModuleType


def digest_of_the_list(import_utils: ModuleType, models: str | Path) -> str:
    listed = import_utils.define_import_structure(str(models))
    names = sorted((sorted(libraries), module, sorted(names)) for libraries, inner in listed.items() for module, names in inner.items())
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
