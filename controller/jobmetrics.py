"""The controller's metrics that are about jobs and where they are, beside those of controller.runtime.

Tests: tests/controller/test_jobmetrics.py.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from controller.job.refusals import ENDED_ATTEMPT, OTHER_JOB
from finetune.api.folding import Refusal

REFUSALS = (*Refusal, ENDED_ATTEMPT, OTHER_JOB)


class JobMetrics:
    """In the registry of the other metrics; names start with `prefix`."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.namespaces_without_rights = Gauge(
            f"{prefix}_namespaces_without_rights",
            "Watched namespaces in which the account may not list and watch all that it needs; a lack in all of them counts as one.",
            registry=registry,
        )
        self._reports_refused = Counter(
            f"{prefix}_reports_refused",
            "Reports of trainers that were not taken over, by reason: of another attempt, Ray cluster or job, out of order, unreadable.",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSALS:
            self._reports_refused.labels(reason)  # from the first scrape on, or the first refusal is no increase

    def count_refused_report(self, reason: str) -> None:
        """Count one report."""
        self._reports_refused.labels(reason).inc()
