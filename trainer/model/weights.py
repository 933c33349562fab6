"""Which weights a model has, by their files: digest and number of parameters. No torch. Test: tests/trainer/model/test_load.py."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from trainer.model.folder import weight_files
from trainer.model.location import LocatedModel, ModelKind, folder_of
from trainer.storage.digest import sha256_of

DRAWN = "random:"
"""Beginning of the digest of a model whose weights are random; the sha256 of its config.json follows."""
WEIGHTS_RECORD = "base-weights.json"
"""File beside exported weights: the base model that they were made from, its digest, and the task that was trained."""


def parameter_count(files: Sequence[Path]) -> int:
    """Return the number of parameters by the headers of safetensors files; tied ones are stored once."""
    count = 0
    for file in files:
        with safe_open(file, framework="np") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count


def weights_digest(located: LocatedModel) -> str:
    """Return sha256 of the one weight file as it was found, or of the list of several files' digests and names.

    Random weights have no file: with the seed, which a run records among its settings, the configuration says which they are.
    """
    if located.draws:
        return f"{DRAWN}{sha256_of(folder_of(located) / 'config.json')}"
    if located.kind is ModelKind.GGUF:
        return f"sha256:{sha256_of(located.path)}"
    return digest_of_folder(located.path, located.field)


def digest_of_folder(path: Path, field: str) -> str:
    """Return the digest of the weights in a folder, in safetensors."""
    files = weight_files(path, field)
    if len(files) == 1:
        return f"sha256:{sha256_of(files[0])}"
    listing = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
