"""Says at the end of a run which tests its markers left out, and what those need: `make test` runs anywhere, they do not.

Test: tests/cluster/test_unselected.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

NEEDS = {
    "e2e": "a real node, which takes root and Debian: make e2e",
    "slow": "minutes: make test-slow",
    "gpu": "a CUDA device: python -m pytest -m gpu",
}
COUNTS = pytest.StashKey[Counter[str]]()
WORKERS_COUNTS = "tests left out, by marker"


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if marker := next((name for name in NEEDS if item.get_closest_marker(name)), None):
            item.config.stash.setdefault(COUNTS, Counter())[marker] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:  # a worker of pytest-xdist
        counts: Counter[str] = session.config.stash.get(COUNTS, Counter())
        output[WORKERS_COUNTS] = dict(counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker left out; each leaves out the same, and one that crashed says nothing."""
    if output := getattr(node, "workeroutput", None):
        node.config.stash[COUNTS] = Counter(output[WORKERS_COUNTS])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash.get(COUNTS, Counter())
    if config.option.markexpr:  # who chooses tests by name knows what he left out
        for marker, count in counts.items():
            terminalreporter.write_line(f"not run: {count} marked {marker}; they need {NEEDS[marker]}")
