"""Lets the Ray cluster that an attempt ran in before stop writing, where a queue has moved the attempt to another one.

An evicted RayJob starts its next cluster as soon as the one before is no object any more. Pods of that one may take their 30 s
to end, and publish a last checkpoint meanwhile: two writers in one folder. So each driver leaves a sign in the output that says which
cluster writes, renews it while it lives, and says in it at its end that it has ended. One that finds the sign of another cluster of its
own attempt waits until that has ended, or renews it no more, and gives its attempt up where it never does. One that was silent for long,
as in a pod that was frozen, and finds that another has taken its place, ends at once without a word to its workers. Other attempts need
not wait: the controller starts none beside the pods of another. Test: tests/trainer/driver/test_succession.py.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from finetune.api.record import STOPPED
from finetune.api.trainconfig import TrainConfig
from trainer.driver.stopping import InterruptedRunError, StopRequest
from trainer.storage.kinds import output_place
from trainer.storage.ownership import Ownership
from trainer.storage.place import Place

logger = logging.getLogger(__name__)

SIGN = "logs/writer.json"
RENEWED_SECONDS = 10.0
SILENT_SECONDS = 45.0
"""A driver that is killed renews nothing; Kubernetes gives its pods 30 s, and a shared folder may show a change late."""
LONGEST_SECONDS = 300.0
"""A cluster that still writes then has not been taken down. The next attempt begins only when its pods are gone."""
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Sign:
    """Which cluster writes; equal as long as it is not renewed."""

    attempt: int
    cluster: str
    renewals: int
    ended: bool = False

    @classmethod
    def of(cls, text: str) -> "Sign | None":
        """Return the sign in a text, None where it holds something else."""
        try:
            said = json.loads(text)
            return cls(said["attempt"], said["cluster"], said.get("renewals", 0), said.get("ended", False))
        except (ValueError, KeyError, TypeError):
            return None


class Succession:
    """One driver's sign in the output. `cluster` is the Ray cluster that it runs in; without one, nobody else can follow it there."""

    def __init__(
        self,
        config: TrainConfig,
        cluster: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._config = config
        self._place: Place = output_place(config.output)
        self._attempt, self._cluster = config.job.attempt, cluster if config.on_cluster else ""
        self._clock, self._sleep = clock, sleep
        self._renewals, self._ended = 0, threading.Event()
        self._thread: threading.Thread | None = None
        self.taken_by = ""
        """The cluster that has taken this one's place; this one must neither write nor report any more."""

    def begin(self, stop: StopRequest) -> None:
        """Wait for the cluster before, then leave the sign and renew it until `end`; where another takes it over, end the run.

        Raises InputError where the output is another job's, which gets no sign; InterruptedRunError where the cluster before never ends.
        """
        if not self._cluster:
            return
        Ownership.of(self._config, {}).check_configuration()
        self._wait(stop)
        self._leave(durable=True)
        self._thread = threading.Thread(target=self._renew, args=(stop,), name="sign of the writer", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Say in the sign that this process writes no more. The sign of another cluster stays as it is."""
        self._ended.set()
        if self._thread is None:
            return
        self._thread.join(RENEWED_SECONDS)
        if self._is_ours():
            self._leave(ended=True)

    def _wait(self, stop: StopRequest) -> None:
        began = seen_at = self._clock()
        seen = self._before()
        if seen is not None:
            logger.info("waiting until the Ray cluster that this attempt ran in before has stopped writing")
        while seen is not None and self._clock() - seen_at < SILENT_SECONDS:
            if stop.wanted:
                raise InterruptedRunError(STOPPED)
            if self._clock() - began >= LONGEST_SECONDS:
                raise self._never_ended(seen)
            self._sleep(POLL_SECONDS)
            now = self._before()
            if now != seen:  # as each error is: whoever cannot read the sign does not know that it is silent
                seen, seen_at = now, self._clock()

    def _never_ended(self, seen: Sign | OSError) -> BaseException:
        if isinstance(seen, OSError):
            return seen
        who = f"the Ray cluster {seen.cluster}, in which this attempt ran before,"
        return InterruptedRunError(f"{who} still writes to {self._place.uri()} after {LONGEST_SECONDS:.0f} s, and two must not")

    def _before(self) -> Sign | OSError | None:
        """Return the sign of another cluster of the same attempt that has not ended, None if there is none, the error if nobody knows."""
        sign = self._read()
        if isinstance(sign, Sign) and (sign.attempt != self._attempt or sign.cluster == self._cluster or sign.ended):
            return None
        return sign

    def _read(self) -> Sign | OSError | None:
        try:
            return Sign.of(self._place.fetch(SIGN).read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return None
        except OSError as error:  # a shared folder may fail for a moment
            return error

    def _leave(self, *, durable: bool = False, ended: bool = False) -> None:
        self._renewals += 1
        try:
            self._place.put(SIGN, json.dumps(asdict(Sign(self._attempt, self._cluster, self._renewals, ended))), durable=durable)
        except OSError as error:  # what the run itself writes will tell
            logger.warning("%s could not be written: %s", self._place.uri(SIGN), error)

    def _is_ours(self) -> bool:
        """Return whether the sign is this cluster's to write; remember whose it is if it is another's."""
        sign = self._read()
        if isinstance(sign, OSError):
            logger.warning("%s could not be read: %s", self._place.uri(SIGN), sign)
            return False
        if sign is not None and sign.cluster != self._cluster:
            self.taken_by = sign.cluster
            return False
        return True

    def _renew(self, stop: StopRequest) -> None:
        while not self._ended.wait(RENEWED_SECONDS):
            if self._is_ours():
                self._leave()
            elif self.taken_by:
                stop.give_up()
                return
