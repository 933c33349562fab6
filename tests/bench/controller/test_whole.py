"""The bench with a handful of jobs, on the real API server."""

from pathlib import Path

import pytest

from bench.controller import atrest, phases
from bench.controller.results import entries_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SIZES = phases.Sizes(jobs=5, at_rest=10, reports_seconds=6, rest_seconds=3, interval_seconds=2)


def test_a_few_jobs_give_every_figure(tmp_path: Path) -> None:
    ours, kuberay, reports = phases.burst(tmp_path, SIZES)
    assert len(ours.delays) == len(kuberay.delays) == 5
    assert ours.requests["create rayjobs"] == 5
    assert kuberay.requests["create rayclusters"] >= 5
    assert reports.reported == 15
    assert reports.writes >= 5
    rest, kuberay_rest = atrest.rest(tmp_path, SIZES)
    assert rest.caught_up_seconds is not None
    assert rest.caught_up_seconds > 0
    assert kuberay_rest.jobs == 7
    assert kuberay_rest.peak_bytes > 0
    assert "patch finetunejobs/status" not in rest.requests, "a job at rest was written"
    assert all(entry["ours"] >= 0 for entry in entries_of(ours, kuberay, reports, rest, kuberay_rest))
