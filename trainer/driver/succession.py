"""Lets the Ray cluster that an attempt ran in before stop writing, where a queue has moved the attempt to another one.

An evicted RayJob starts its next cluster as soon as the one before is no object any more. Pods of that one may take their 30 s
to end, and publish a last checkpoint meanwhile: two writers in one folder. So each driver leaves a sign in the output that says which
cluster writes, renews it while it lives, and takes it away at its end. One that finds the sign of another cluster of its own attempt
waits until it is gone, or renewed no more. Other attempts need not wait: the controller starts none beside the pods of another.
Test: tests/trainer/driver/test_succession.py.
"""

import json
import logging
import threading
import time
from collections.abc import Callable

from finetune.api.trainconfig import TrainConfig
from trainer.storage.kinds import output_place
from trainer.storage.place import Place

logger = logging.getLogger(__name__)

SIGN = "logs/writer.json"
RENEWED_SECONDS = 10.0
SILENT_SECONDS = 45.0
"""A driver that is killed renews nothing; Kubernetes gives its pods 30 s, and a shared folder may show a change late."""
LONGEST_SECONDS = 300.0
POLL_SECONDS = 1.0


class Succession:
    """One driver's sign in the output. `cluster` is the Ray cluster that it runs in; without one, nobody else can follow it there."""

    def __init__(
        self,
        config: TrainConfig,
        cluster: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._place: Place = output_place(config.output)
        self._attempt, self._cluster = config.job.attempt, cluster if config.on_cluster else ""
        self._clock, self._sleep = clock, sleep
        self._renewals, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._renew, name="sign of the writer", daemon=True)

    def begin(self) -> None:
        """Wait for the cluster before, then leave the sign and renew it until `end`."""
        if not self._cluster:
            return
        self._wait()
        if not self._ended.is_set():
            self._leave()
            self._thread.start()

    def end(self) -> None:
        """Take the sign away; this process writes no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(RENEWED_SECONDS)
        try:
            if self._cluster and json.loads(self._read() or "{}").get("cluster") == self._cluster:
                self._place.remove(SIGN)
        except (OSError, ValueError) as error:
            logger.warning("%s could not be removed: %s", self._place.uri(SIGN), error)

    def _wait(self) -> None:
        began = seen_at = self._clock()
        seen = self._of_another()
        if seen is not None:
            logger.info("waiting until the Ray cluster that this attempt ran in before has stopped writing")
        while seen is not None and self._clock() - seen_at < SILENT_SECONDS and self._clock() - began < LONGEST_SECONDS:
            self._sleep(POLL_SECONDS)
            now = self._of_another()
            if now != seen:
                seen, seen_at = now, self._clock()

    def _of_another(self) -> str | None:
        """Return the sign of another cluster of the same attempt, None if there is none."""
        text = self._read()
        try:
            said = json.loads(text or "{}")
            other = said["attempt"] == self._attempt and said["cluster"] != self._cluster
        except (ValueError, KeyError, TypeError):
            return None
        return text if other else None

    def _read(self) -> str | None:
        try:
            return self._place.fetch(SIGN).read_text(encoding="utf-8")
        except OSError:
            return None

    def _leave(self) -> None:
        self._renewals += 1
        said = {"attempt": self._attempt, "cluster": self._cluster, "renewals": self._renewals}
        try:
            self._place.put(SIGN, json.dumps(said))
        except OSError as error:  # what the run itself writes will tell
            logger.warning("%s could not be written: %s", self._place.uri(SIGN), error)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_SECONDS):
            self._leave()
