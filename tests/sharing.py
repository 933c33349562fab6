"""Which tests stay together when several workers share them (`pytest -n 2 --dist loadgroup`, as `make test` runs them).

Tests that use the control plane share one, in one worker; those that start Ray or train are marked
`pytest.mark.xdist_group("training")`, because two trainings at a time would starve each other. All others stay with their
file, whose fixtures they share. Test: tests/cluster/test_sharing.py.
"""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))


def group_of(item: pytest.Item) -> str:
    """Return the name of what an unmarked test stays together with."""
    return "control plane" if "control_plane" in getattr(item, "fixturenames", ()) else item.nodeid.partition("::")[0]
