"""How the files are written that a program on the other side reads while a run goes on: configuration, progress, status.

Test: tests/trainer/config/test_files.py.
"""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content in one step: a reader sees the old text or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
