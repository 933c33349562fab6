"""One controller over a wire on which requests of each job fail in another way: in the end all jobs are where an undisturbed one is.

Attempts share an account, as the chart has it.
"""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.job.objects.form import SHARED_ACCOUNT
from tests.cluster.controlplane import ControlPlane
from tests.integration.faultywire import Fault, status
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, ROWS, create, wait
from tests.integration.requestfaults import (
    ACCOUNTS,
    CALM,
    CASES,
    FOREVER,
    KINDS,
    RIGHTS_PATH,
    SHARED,
    WRONG,
    Case,
    Served,
    check,
    job_with_rows,
    of,
    serving,
)

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(SHARED, control_plane, account, tmp_path_factory.mktemp("faulty"), f"requests-{os.getpid()}") as served:
        yield served


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES[SHARED].items()])
def test_a_request_that_fails_is_sent_again_and_leaves_no_trace(served: Served, case: Case) -> None:
    check(served, case)


@pytest.mark.parametrize("how", KINDS)
def test_a_shared_role_whose_creation_fails_is_created_after_all(served: Served, how: str) -> None:
    """In a namespace of its own, whose first job makes the account."""
    there = replace(served, namespace=f"{served.namespace}-{KINDS.index(how)}")
    path = RIGHTS_PATH.format(there.namespace) + "roles"
    fault = Fault(lambda request: (request.method, request.path) == ("POST", path), **WRONG[how])  # type: ignore[arg-type]
    served.wire.faults.append(fault)
    served.plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": there.namespace}})
    create(served.plane, there.namespace, CLAIMS, CLAIM)
    create(served.plane, there.namespace, CONFIG_MAPS, {**ROWS, "metadata": {"name": "rows-first"}})
    create(served.plane, there.namespace, JOBS, job_with_rows("first"))
    there.settle("first", CALM, served)

    assert fault.injected == fault.times, "the fault never happened, or not often enough"
    for kind in (ACCOUNTS, f"{RIGHTS_PATH}roles", f"{RIGHTS_PATH}rolebindings"):
        assert there.get(kind, SHARED_ACCOUNT) is not None
    assert [each["number"] for each in (there.get(JOBS, "first") or {})["status"]["attempts"]] == [1]
    served.plane.api.request("DELETE", JOBS.format(there.namespace))


def test_what_is_refused_all_the_time_is_requested_ever_less_often(served: Served) -> None:
    fault = Fault(of("stuck", "PATCH", "/status"), FOREVER, answer=status(500))
    served.wire.faults.append(fault)
    began = time.monotonic()
    create(served.plane, served.namespace, JOBS, job_with_rows("stuck"))
    wait(lambda: fault.injected >= 5, "refused five times")
    seconds = time.monotonic() - began
    # The pauses double from 0.25 s, a quarter of which may be missing; nothing is created before the status is written.
    assert fault.injected <= math.log2(seconds / (0.75 * 0.25) + 1) + 2
    assert served.wire.count("stuck", "POST") == 0
    assert served.wire.count("stuck") <= 3 * fault.injected
    served.wire.faults.remove(fault)
    served.settle("stuck", CALM)
