"""`make test` builds beforehand whatever its tests start: a build inside a test would run into the test's time limit."""

from __future__ import annotations

import re

from tests.cluster.binaries import CONTROL_PLANE, NODE, RECIPES
from tests.repository import REPOSITORY

TESTS = REPOSITORY / "tests"
# Modules that only a node needs.
OF_THE_NODE = {TESTS / "cluster" / name for name in ("node.py", "images.py")}


def test_every_program_that_tests_without_a_node_start_is_built_first() -> None:
    modules = [path for path in TESTS.rglob("*.py") if path not in OF_THE_NODE and TESTS / "e2e" not in path.parents]
    named = {name for path in modules for name in re.findall(r"\bbinary\(\"([\w-]+)\"\)", path.read_text())}
    assert {"etcd", "helm", "kube-scheduler"} <= named
    assert named <= set(CONTROL_PLANE)


def test_a_node_is_built_from_all_programs() -> None:
    assert set(NODE) == set(RECIPES)
