"""Which tests stay together when several workers share them, and which begin (`pytest -n auto --dist loadgroup
--no-loadscope-reorder`, as `make test` runs them).

Tests that use the control plane share one, in one worker. Those that start Ray or a whole run are marked
`pytest.mark.xdist_group("training")`, and those that start ranks without Ray `"ranks"`: one of each at a time, because more would starve
each other. Those that need the quickstart's tokenizer, which takes seconds to load, share it. All others stay with their file, whose
fixtures they share.

The longest groups begin, the trainer's files follow, and what is short comes last: at the end no worker waits for another that
has just begun a long group. Test: tests/cluster/test_sharing.py.
"""

import os

import pytest

MOST_WORKERS = 4
TRAINING, CONTROL_PLANE, RANKS = "training", "control plane", "ranks"
SHARED = {"control_plane": CONTROL_PLANE, "smollm2": "quickstart's tokenizer"}
"""Fixtures that are made once, and the group of all tests that use them."""
FIRST = (TRAINING, RANKS, CONTROL_PLANE, SHARED["smollm2"])
LONG = ("tests/trainer/", "tests/finetune/cli/local/", "tests/samples/")


def pytest_xdist_auto_num_workers() -> int | None:
    """One more than there are cores for this program, because tests on the control plane wait most of the time.

    None, which leaves it to pytest-xdist, where PYTEST_XDIST_AUTO_NUM_WORKERS is set.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 1, MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups = {}
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is None:
            groups[item] = group_of(item)
            item.add_marker(pytest.mark.xdist_group(groups[item]))
        else:
            groups[item] = mark.args[0]
    if items and hasattr(items[0].config, "workerinput"):
        items.sort(key=lambda item: turn_of(groups[item]))


def group_of(item: pytest.Item) -> str:
    """Return the name of what an unmarked test stays together with."""
    fixtures = getattr(item, "fixturenames", ())
    return next((group for fixture, group in SHARED.items() if fixture in fixtures), item.nodeid.partition("::")[0])


def turn_of(group: str) -> int:
    """Return when a group is begun, the smallest first; those of the same turn stay in the order in which they were collected."""
    if group in FIRST:
        return FIRST.index(group)
    return len(FIRST) + (not group.startswith(LONG))
