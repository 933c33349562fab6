"""Where things lie: the project, the cache outside the tree, and one directory for every running cluster."""

from __future__ import annotations

import os
from pathlib import Path

GO_MODULES = Path(__file__).resolve().parent / "gomodules"


def cache_directory() -> Path:
    """The cache outlives clones of the project, so that the long Go build is done once on a machine."""
    configured = os.environ.get("FINETUNE_CACHE")
    cache = Path(configured) if configured else Path.home() / ".cache" / "finetune-operator"
    cache.mkdir(parents=True, exist_ok=True)
    return cache.resolve()


def clusters_directory() -> Path:
    """Every running cluster has a directory of its own in here, with its state, logs and keys."""
    clusters = cache_directory() / "clusters"
    clusters.mkdir(mode=0o700, exist_ok=True)
    return clusters
