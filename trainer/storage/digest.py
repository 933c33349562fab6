"""The digest by which files are known: of weights in a provenance, of a checkpoint's files in its manifest.

Tests: tests/trainer/model/test_load.py, tests/trainer/storage/test_checkpoint.py.
"""

import hashlib
from pathlib import Path


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
