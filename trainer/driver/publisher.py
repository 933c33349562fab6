"""The driver's half of reporting: keeps the newest state of a run and publishes it as a file or in a ConfigMap.

Publishing never fails training: it has a thread of its own and only logs what goes wrong. Only the last record is insisted
upon, because the controller decides by it. Touches the file or the API server. Test: tests/trainer/driver/test_publisher.py.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Unpack

from finetune.api.record import RECORD_KEY, STOP_ANNOTATION, ProgressRecord, Stage
from finetune.api.trainconfig import ProgressTarget, TrainConfig
from finetune.system.files import whole_letters, write_atomically
from trainer.reporting.messages import RecordUpdate

logger = logging.getLogger(__name__)

CONFIG_MAP_INTERVAL_SECONDS = 15.0
FILE_INTERVAL_SECONDS = 0.5
HEARTBEAT_SECONDS = 60.0
"""The controller takes silence for a stall (runPolicy.stallTimeoutSeconds), so a record is repeated in stages that report nothing."""
UNATTENDED = frozenset({Stage.READING, Stage.STARTING, Stage.EXPORTING, Stage.FINISHED})
"""Stages whose steps give no sign of life. In the others the ranks do: a rank that hangs must not be hidden by a driver that lives."""
POLL_SECONDS = 0.25
FINAL_TRIES_SECONDS = 300.0
REQUEST_SECONDS = 5, 10
"""To connect, and to wait for an answer."""
NOT_FOUND = 404
Source = Callable[[], RecordUpdate]
"""Returns what changed since the last call; may raise anything."""
URGENT_FIELDS = frozenset({"stage", "checkpoints", "outcome", "resumed_from_step"})


class RecordTarget(Protocol):
    """Where records go: how often at the most, and how often at the least."""

    interval_seconds: float
    heartbeat_seconds: float
    stop_requested: str
    """In which Ray cluster the run is to stop, as the answer to the last record says; empty: in none."""

    def write(self, record: ProgressRecord) -> None:
        """Store a record in place of the one before; may raise anything."""


class FileTarget:
    """A JSON file that is replaced in one step."""

    interval_seconds = FILE_INTERVAL_SECONDS
    heartbeat_seconds = float("inf")
    """The command that reads it knows by itself that this program lives."""
    stop_requested = ""
    """It stops this program by a signal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, record: ProgressRecord) -> None:
        """Replace the file."""
        write_atomically(self._path, record_text(record))


class ConfigMaps(Protocol):
    """What is used of the client library; errors have the HTTP status in `status`."""

    def patch_namespaced_config_map(self, name: str, namespace: str, body: Any, *, _request_timeout: tuple[int, int]) -> Any:
        """Merge into a ConfigMap, and return what became of it."""

    def create_namespaced_config_map(self, namespace: str, body: Any, *, _request_timeout: tuple[int, int]) -> object:
        """Create a ConfigMap."""


class ConfigMapTarget:
    """One key of one ConfigMap, written with the pod's own service account, which may do that and nothing else.

    With `metadata` the ConfigMap is created where it is missing: by the first record, and when somebody has deleted it.
    """

    interval_seconds = CONFIG_MAP_INTERVAL_SECONDS
    heartbeat_seconds = HEARTBEAT_SECONDS

    def __init__(self, namespace: str, name: str, metadata: Mapping[str, Any] | None = None, api: ConfigMaps | None = None) -> None:
        self._api = _in_cluster() if api is None else api
        self._namespace, self._name, self._metadata = namespace, name, metadata
        self.stop_requested = ""

    def write(self, record: ProgressRecord) -> None:
        """Patch the ConfigMap, or create it; bounded in time."""
        body: dict[str, Any] = {"data": {RECORD_KEY: record_text(record)}}
        try:
            stored = self._api.patch_namespaced_config_map(self._name, self._namespace, body, _request_timeout=REQUEST_SECONDS)
            self.stop_requested = (stored.metadata.annotations or {}).get(STOP_ANNOTATION, "")
        except Exception as error:
            if self._metadata is None or getattr(error, "status", None) != NOT_FOUND:
                raise
            body["metadata"] = {**self._metadata, "name": self._name}
            self._api.create_namespaced_config_map(self._namespace, body, _request_timeout=REQUEST_SECONDS)


def _in_cluster() -> ConfigMaps:
    from kubernetes import client, config

    config.load_incluster_config()
    api: ConfigMaps = client.CoreV1Api()
    return api


def record_text(record: ProgressRecord) -> str:
    """Return the record as JSON that every reader takes, whatever words of the user's rows are in it."""
    return json.dumps(json.loads(whole_letters(json.dumps(record.to_wire(), ensure_ascii=False))))


def open_target(target: ProgressTarget) -> RecordTarget:
    """Return the place that the configuration names."""
    if target.config_map is not None and target.namespace is not None:
        return ConfigMapTarget(target.namespace, target.config_map, target.metadata)
    if target.file is not None:
        return FileTarget(Path(target.file))
    raise ValueError("progress: neither a file nor a ConfigMap is configured")


class Reports(Protocol):
    """What takes over what a run reports."""

    def update(self, **changes: Unpack[RecordUpdate]) -> None:
        """Take over changed fields of the record."""

    def poll(self, source: Source | None) -> None:
        """Fetch changes from `source` from now on; None: from nowhere."""

    def fetch(self, source: Source | None = None) -> None:
        """Take over what `source` has."""


class Publisher:
    """Keeps the newest state, publishes it from a thread, insists on the last record."""

    def __init__(self, config: TrainConfig, target: RecordTarget, clock: Callable[[], float] = time.monotonic) -> None:
        self._target, self._clock = target, clock
        self._attempt, self._cluster = config.job.attempt, os.environ.get("RAY_CLUSTER_NAME", "")
        self._state = RecordUpdate(stage=Stage.READING)
        self._last_words = RecordUpdate()
        """What a run that was given up, and goes on in its thread, must not overwrite."""
        self._sequence = 0
        self._lock, self._fetching = threading.Lock(), threading.Lock()
        self._changed = self._urgent = False
        self._last_write = float("-inf")
        self._closed = threading.Event()
        self._source: Source | None = None
        self._on_stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def poll(self, source: Source | None) -> None:
        """Have the thread fetch changes from `source` (the actor of the workers) from now on; None: from nowhere."""
        self._source = source

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the answer to a record is that the run is to stop, and at every record after it."""
        self._on_stop = stop

    def update(self, **changes: Unpack[RecordUpdate]) -> None:
        """Take over changed fields of the record; a sign of life has the record repeated as it is."""
        changes.pop("pulse", None)
        with self._lock:
            self._changed = True
            self._urgent = self._urgent or bool(URGENT_FIELDS & {key for key, value in changes.items() if self._state.get(key) != value})
            self._state.update(changes)

    def finish(self, patience_seconds: float = FINAL_TRIES_SECONDS, **changes: Unpack[RecordUpdate]) -> bool:
        """Publish the last record, again and again until it is accepted or the patience is over; return whether it was."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(patience_seconds)
        self.fetch()
        self._last_words = changes
        deadline, pause = self._clock() + patience_seconds, 0.5
        while not self.publish():
            if self._clock() + pause > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 15.0)
        return True

    def publish(self) -> bool:
        """Write the present state; log and return False when the target refuses it."""
        with self._lock:
            self._sequence += 1
            sequence, state = self._sequence, dict[str, Any]({**self._state, **self._last_words})
            self._changed = self._urgent = False
            self._last_write = self._clock()
        try:
            now = datetime.now(UTC)
            self._target.write(ProgressRecord(attempt=self._attempt, cluster=self._cluster, sequence=sequence, time=now, **state))
        except Exception as error:  # any target, any fault: training goes on
            logger.warning("progress could not be reported: %s", str(error).splitlines()[0] if str(error) else type(error).__name__)
            with self._lock:
                self._changed = True
            return False
        if self._cluster and self._target.stop_requested == self._cluster:
            self._on_stop()
        return True

    def fetch(self, source: Source | None = None) -> None:
        """Take over what `source`, else the one that is polled, has; log it when it is gone."""
        source = source or self._source
        if source is None:
            return
        # One at a time: what was handed over first must not overwrite what came after it.
        with self._fetching:
            try:
                changes = source()
            except Exception as error:  # the actor may be gone with its node
                logger.debug("no progress from the workers: %s", error)
                return
            if changes:
                self.update(**changes)

    def turn(self) -> None:
        """Fetch changes, and publish them if they are urgent or the last record is old enough: one turn of the thread."""
        self.fetch()
        age = self._clock() - self._last_write
        due, silent = age >= self._target.interval_seconds, age >= self._target.heartbeat_seconds
        beats = silent and self._state.get("stage") in UNATTENDED
        if beats or (self._changed and (due or self._urgent)):
            self.publish()

    def _run(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            self.turn()
