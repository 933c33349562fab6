"""How a run's progress leaves it: rank 0 -> a small Ray actor -> the driver -> a file or a ConfigMap.

Reporting never fails training: rank 0 sends, and waits for no answer longer than a fifth of a second; the driver publishes
from a thread of its own and only logs what goes wrong. The last record alone is insisted upon, because the controller
decides by it.
Test: tests/trainer/reporting/test_progress.py.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

from finetune.api.record import RECORD_KEY, ProgressRecord, Stage
from finetune.api.trainconfig import JobIdentity, ProgressSink, TrainConfig
from finetune.system.files import whole_letters, write_atomically
from trainer.driver.stopping import StopRequest

logger = logging.getLogger(__name__)

CONFIG_MAP_INTERVAL_SECONDS = 15.0
FILE_INTERVAL_SECONDS = 0.5
POLL_SECONDS = 0.25
FETCH_SECONDS = 1.0
FINAL_TRIES_SECONDS = 300.0
URGENT_FIELDS = frozenset({"stage", "checkpoints", "outcome", "resumed_from_step"})


class Sink(Protocol):
    """Where records go."""

    interval_seconds: float

    def write(self, record: ProgressRecord) -> None:
        """Store a record in place of the one before; may raise anything."""


class FileSink:
    """A JSON file that is replaced in one step."""

    interval_seconds = FILE_INTERVAL_SECONDS

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, record: ProgressRecord) -> None:
        """Replace the file."""
        write_atomically(self._path, record_text(record))


class ConfigMapSink:
    """One key of one ConfigMap, patched with the pod's own service account, which may do that and nothing else."""

    interval_seconds = CONFIG_MAP_INTERVAL_SECONDS

    def __init__(self, namespace: str, name: str) -> None:
        from kubernetes import client, config

        config.load_incluster_config()
        self._api, self._namespace, self._name = client.CoreV1Api(), namespace, name

    def write(self, record: ProgressRecord) -> None:
        """Patch the ConfigMap; bounded in time."""
        body = {"data": {RECORD_KEY: record_text(record)}}
        self._api.patch_namespaced_config_map(self._name, self._namespace, body, _request_timeout=(5, 10))


def record_text(record: ProgressRecord) -> str:
    """Return the record as JSON that every reader takes, whatever words of the user's rows are in it."""
    return json.dumps(json.loads(whole_letters(json.dumps(record.to_wire(), ensure_ascii=False))))


def open_sink(sink: ProgressSink) -> Sink:
    """Return the sink that the configuration names."""
    if sink.config_map is not None and sink.namespace is not None:
        return ConfigMapSink(sink.namespace, sink.config_map)
    if sink.file is not None:
        return FileSink(Path(sink.file))
    raise ValueError("progress: neither a file nor a ConfigMap is configured")


class ProgressReporter:
    """The driver's side: keeps the newest state, publishes it from a thread, insists on the last record."""

    def __init__(self, config: TrainConfig, sink: Sink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink, self._clock = sink, clock
        self._fields: dict[str, Any] = {
            "attempt": config.job.attempt,
            "cluster": os.environ.get("RAY_CLUSTER_NAME", ""),
            "stage": Stage.STARTING,
        }
        self._sequence = 0
        self._lock, self._fetching = threading.Lock(), threading.Lock()
        self._changed = self._urgent = False
        self._last_write = float("-inf")
        self._closed = threading.Event()
        self._source: Callable[[], dict[str, Any]] | None = None
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def poll(self, source: Callable[[], dict[str, Any]] | None) -> None:
        """Have the thread fetch changes from `source` (the actor of the workers) from now on."""
        self._source = source

    def update(self, **fields: Any) -> None:
        """Take over changed fields of the record."""
        with self._lock:
            self._changed = True
            self._urgent = self._urgent or bool(URGENT_FIELDS & {key for key, value in fields.items() if self._fields.get(key) != value})
            self._fields.update(fields)

    def finish(self, patience_seconds: float = FINAL_TRIES_SECONDS, **fields: Any) -> bool:
        """Publish the last record, again and again until it is accepted or the patience is over; tell whether it was."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(patience_seconds)
        self.fetch()
        self.update(**fields)
        deadline, pause = self._clock() + patience_seconds, 0.5
        while not self.publish():
            if self._clock() + pause > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 15.0)
        return True

    def publish(self) -> bool:
        """Write the present state; log and return False when the sink refuses it."""
        with self._lock:
            self._sequence += 1
            sequence, fields = self._sequence, dict(self._fields)
            self._changed = self._urgent = False
            self._last_write = self._clock()
        try:
            self._sink.write(ProgressRecord(sequence=sequence, time=datetime.now(UTC), **fields))
        except Exception as error:  # any sink, any fault: training goes on
            logger.warning("progress could not be reported: %s", str(error).splitlines()[0] if str(error) else type(error).__name__)
            with self._lock:
                self._changed = True
            return False
        return True

    def fetch(self) -> None:
        """Take over what the source has; log it when the source is gone."""
        # One at a time: what was handed over first must not overwrite what came after it.
        with self._fetching:
            if self._source is None:
                return
            try:
                fields = self._source()
            except Exception as error:  # the actor may be gone with its node
                logger.debug("no progress from the workers: %s", error)
                return
            if fields:
                self.update(**fields)

    def _run(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            self.fetch()
            due = self._clock() - self._last_write >= self._sink.interval_seconds
            if self._changed and (due or self._urgent):
                self.publish()


def progress_box() -> Any:
    """Return a new Ray actor that holds changes until the driver fetches them, and the wish to stop."""
    import ray

    return ray.remote(num_cpus=0)(ProgressBox).remote()


class BoxReader:
    """The driver's way to the box: fetches what the workers reported, and passes on the wish to stop."""

    def __init__(self, box: Any, stop: StopRequest) -> None:
        self._box, self._stop = box, stop
        self._answer: Any = None

    def __call__(self) -> dict[str, Any]:
        """Return what the workers reported since the last call; nothing when there is no answer yet."""
        import ray

        if self._stop.wanted:
            self._box.request_stop.remote()
        # An answer that is late is waited for again next time: what it carries is in the box no more.
        self._answer = self._answer or self._box.fetch.remote()
        if not ray.wait([self._answer], timeout=FETCH_SECONDS)[0]:
            return {}
        answer, self._answer = self._answer, None
        fields, stage = ray.get(answer)
        if stage is not None:
            self._stop.note(stage)
        return dict(fields)


class ProgressBox:
    """The actor's body; lives on any node, holds a few kilobytes."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._stage: Stage | None = None
        self._stop = False

    def put(self, fields: dict[str, Any]) -> bool:
        """Take changes from rank 0; return whether the run is to stop."""
        self._fields.update(fields)
        self._stage = fields.get("stage", self._stage)
        return self._stop

    def fetch(self) -> tuple[dict[str, Any], Stage | None]:
        """Hand the changes since the last fetch to the driver, and each time the stage: what SIGTERM means hangs on it."""
        fields, self._fields = self._fields, {}
        return fields, self._stage

    def request_stop(self) -> None:
        """Have rank 0 write a checkpoint and end after its present step."""
        self._stop = True


class WorkerProgress:
    """Rank 0's side: sends without waiting, and learns on the way whether to stop."""

    def __init__(self, box: Any) -> None:
        self._box, self._answer, self._stop = box, None, False

    def send(self, **fields: Any) -> None:
        """Send changed fields of the record."""
        self.stop_requested()
        self._answer = self._box.put.remote(fields)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Tell whether the driver wants the run to stop, as far as is known within `wait_seconds`."""
        import ray

        if self._answer is not None and ray.wait([self._answer], timeout=wait_seconds)[0]:
            try:
                self._stop = self._stop or bool(ray.get(self._answer))
            except ray.exceptions.RayError as error:
                logger.warning("the driver's progress actor is gone: %s", error)
            self._answer = None
        return self._stop


class RayMetricsSink:
    """Figures as gauges on Ray's metrics port, tagged with the job, for Prometheus."""

    NAMES: ClassVar[dict[str, str]] = {
        "trainLoss": "finetune_train_loss",
        "tokensPerSecond": "finetune_tokens_per_second",
        "learningRate": "finetune_learning_rate",
        "gradientNorm": "finetune_gradient_norm",
        "validation/perplexity": "finetune_validation_perplexity",
    }

    def __init__(self, job: JobIdentity) -> None:
        from ray.util.metrics import Gauge

        self._tags = {"job": job.name, "attempt": str(job.attempt)}
        self._gauges = {name: Gauge(port_name, description=name, tag_keys=("job", "attempt")) for name, port_name in self.NAMES.items()}
        self._step = Gauge("finetune_step", description="optimizer steps done", tag_keys=("job", "attempt"))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Set the gauges of the figures that have one."""
        self._step.set(step, tags=self._tags)
        for name, value in figures.items():
            if name in self._gauges:
                self._gauges[name].set(value, tags=self._tags)
