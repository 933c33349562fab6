"""A controller's Prometheus metrics, in a registry of their own.

Written by queue, workers, reflectors and elector; served by health. Tests: tests/controller/runtime/test_health.py.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

RECONCILE_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """All metrics of one controller process; their names start with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.queue_depth = Gauge(f"{prefix}_queue_depth", "Keys waiting for a worker.", registry=self.registry)
        self.queue_adds = Counter(f"{prefix}_queue_adds", "Keys added to the queue.", registry=self.registry)
        self.queue_retries = Counter(f"{prefix}_queue_retries", "Keys retried later after an error.", registry=self.registry)
        self.reconcile_seconds = Histogram(
            f"{prefix}_reconcile_seconds", "Duration of one reconcile.", buckets=RECONCILE_BUCKETS_SECONDS, registry=self.registry
        )
        self.reconcile_errors = Counter(
            f"{prefix}_reconcile_errors", "Reconciles that raised, by kind of error.", ["kind"], registry=self.registry
        )
        self.watch_restarts = Counter(
            f"{prefix}_watch_restarts", "Watches that ended, by resource and reason.", ["resource", "reason"], registry=self.registry
        )
        self.objects = Gauge(f"{prefix}_cached_objects", "Objects in the cache.", ["resource"], registry=self.registry)
        self.leader = Gauge(f"{prefix}_leader", "1 while this process leads.", registry=self.registry)

    def follow_queue_depth(self, depth: Callable[[], float]) -> None:
        """Ask `depth` for the number of waiting keys whenever the metrics are read."""
        self.queue_depth.set_function(depth)

    def follow_objects(self, resource: str, count: Callable[[], float]) -> None:
        """Ask `count` for the number of cached objects of `resource` whenever the metrics are read."""
        self.objects.labels(resource).set_function(count)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
