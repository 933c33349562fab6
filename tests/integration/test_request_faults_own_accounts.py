"""Requests fail as in test_request_faults.py, where each attempt has an account of its own: what is created more than there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.integration.requestfaults import CASES, OWN, Case, Served, check, serving

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(OWN, control_plane, account, tmp_path_factory.mktemp("faulty"), f"own-{os.getpid()}") as served:
        yield served


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES[OWN].items()])
def test_a_creation_that_fails_is_sent_again_and_leaves_no_trace(served: Served, case: Case) -> None:
    check(served, case)
