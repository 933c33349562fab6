"""Where the repository is, for tests that read its files or start programs in it."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
