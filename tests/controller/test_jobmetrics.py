"""The controller's metrics about jobs."""

import pytest

from controller.jobmetrics import REFUSALS, JobMetrics
from controller.main import Controller
from controller.runtime.metrics import Metrics
from controller.runtime.resources import CONFIG_MAPS, PODS
from tests.controller.test_main import settings
from tests.fakes import FakeApi


def served(metrics: Metrics) -> list[str]:
    return metrics.text().decode().splitlines()


def test_every_reason_is_there_from_the_start_and_counts() -> None:
    metrics = Metrics("test")
    jobs = JobMetrics(metrics.registry, "test")
    assert {f'test_reports_refused_total{{reason="{reason}"}} 0.0' for reason in REFUSALS} <= set(served(metrics))
    jobs.count_refused_report("LowerSequence")
    assert 'test_reports_refused_total{reason="LowerSequence"} 1.0' in served(metrics)


@pytest.mark.parametrize(
    ("lacks", "count"),
    [([], 0), ([("team-a", PODS), ("team-a", CONFIG_MAPS)], 1), ([("team-a", PODS), ("team-b", PODS)], 2)],
    ids=["all rights", "two in one", "one in each"],
)
def test_namespaces_in_which_rights_are_missing_are_counted(lacks: list[tuple[str, object]], count: int) -> None:
    controller = Controller(settings(namespaces="team-a,team-b"), FakeApi())
    for each in controller.reflectors:
        each.refused = (each.namespace, each.resource) in lacks
    assert f"finetune_controller_namespaces_without_rights {count}.0" in served(controller.metrics)
