"""Runs the ranks, as workers of Ray Train unless the only one can run in this program, and passes their reports on meanwhile.

Touches Ray. Tests: tests/trainer/driver/test_workers.py, tests/trainer/rank/test_run.py (real Ray).
"""

import logging
import pickle
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from finetune.api.timings import TimedStage
from finetune.api.trainconfig import TrainConfig
from finetune.system.hubaccess import closed_environment
from trainer.driver.fetching import fetch_for_ranks
from trainer.driver.here import fit_here, runs_here
from trainer.driver.publisher import Reports
from trainer.driver.raystart import STARTS, environment_of_box, prepare_for_ray, ray_folder, resources_of_a_rank, start_ray
from trainer.driver.stopping import StopRequest
from trainer.preflight.inputs import Inputs
from trainer.reporting.messages import RecordUpdate
from trainer.reporting.progress import Order
from trainer.reporting.stageclock import StageClock
from trainer.storage.ownership import Ownership

logger = logging.getLogger(__name__)

FETCH_SECONDS = 1.0
LAST_FETCHES_SECONDS = 5.0
"""At the end of the workers, a box that has not answered for this long is gone or hangs. A pod is killed 30 s after SIGTERM, and
its last record is written only after this."""


def fit(config: TrainConfig, inputs: Inputs, ownership: Ownership, publisher: Reports, stop: StopRequest, clock: StageClock,
        workers: "Workers", *, only_results: bool = False) -> None:  # fmt: skip
    """Run the ranks; returns when all have ended well, raises their error otherwise. `only_results`: without training."""
    if runs_here(config):
        inputs = fetch_for_ranks(config, inputs, clock)
        fit_here(config, inputs, ownership, publisher, stop, clock, only_results=only_results)
    else:

        def fetched() -> bytes:
            return pickle.dumps(fetch_for_ranks(config, inputs, clock))

        workers.train(fetched, ownership.owner, publisher, stop, only_results=only_results)


class Workers:
    """The ranks as workers of Ray Train. They can come up beside the checks of the input, in a thread of their own.

    The thread that started Ray never ends: Ray's daemons die with it.
    """

    def __init__(self, config: TrainConfig, clock: StageClock) -> None:
        self._config, self._clock = config, clock
        self._next: Workers | None = None
        self._thread: threading.Thread | None = None
        self._box: Future[Any] = Future()
        self._end: Future[None] = Future()
        self._ordered = False

    @property
    def idle(self) -> bool:
        """Whether Ray was started, or is about to be, for workers that nothing was asked of: it goes with this program."""
        return (self._thread is not None and not self._ordered) or (self._next is not None and self._next.idle)

    def of(self, config: TrainConfig) -> "Workers":
        """Return these workers, not started yet, for this configuration."""
        self._config = config
        return self

    def following(self, config: TrainConfig, clock: StageClock) -> "Workers":
        """Return the workers of the run after this one, which use the same Ray."""
        self._next = Workers(config, clock)
        return self._next

    def begin(self) -> None:
        """Start Ray and the workers, which wait for `train`; returns at once. What goes wrong is raised there."""
        if self._thread is None:
            if not ray_runs():
                prepare_for_ray(self._config)
            self._thread = threading.Thread(target=self._work, name="ray", daemon=True)
            self._thread.start()

    def train(self, inputs: Callable[[], bytes], owner: str, publisher: Reports, stop: StopRequest, *, only_results: bool = False) -> None:
        """Have the workers train; returns when all have ended well, raises their error or RayNotStartedError otherwise.

        Order says what the arguments are; `inputs` is called once Ray is there.
        """
        self.begin()
        self._clock.begin(TimedStage.WORKERS)
        box = self._box.result()
        import ray

        prepared = inputs()  # may fetch for minutes: until then workers that end are started once more
        self._ordered = True
        self._clock.begin(TimedStage.WORKERS)
        ray.get(box.give.remote(Order(prepared, owner, self._clock.passed_on("rank 0"), only_results)))
        reader = BoxReader(box, stop)
        publisher.poll(reader)
        try:
            self._end.result()
        finally:
            fetch_the_rest(reader, publisher)

    def _work(self) -> None:
        keeps = not ray_runs()
        try:
            if keeps:
                with self._clock.beside(TimedStage.RAY):
                    start_ray(self._config)
            from trainer.rank.worker import Payload
            from trainer.reporting.progress import progress_box

            box = progress_box(environment_of_box(self._config))
        except BaseException as fault:
            self._box.set_exception(fault)
        else:
            self._box.set_result(box)
            self._work_to_the_end(Payload(self._config.to_wire(), box))
        if keeps:  # Ray's daemons die with this thread
            threading.Event().wait()

    def _work_to_the_end(self, payload: Any) -> None:
        """Run the workers. Those that end while they wait lose nothing, and are started once more."""
        for number in range(1, STARTS + 1):
            try:
                ray_trainer(self._config, payload).fit()
                self._end.set_result(None)
                return
            except BaseException as fault:
                if self._ordered or number == STARTS:
                    self._end.set_exception(fault)
                    return
                logger.warning("the workers ended before they had anything to do; starting them once more", exc_info=fault)


def ray_runs() -> bool:
    """Return whether an earlier run of this program has started Ray, or joined it."""
    ray: Any = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def fetch_the_rest(reader: "BoxReader", publisher: Reports, clock: Callable[[], float] = time.monotonic) -> None:
    """Fetch until everything that the workers, which have ended, reported is with the publisher, or the time for it is over."""
    deadline = clock() + LAST_FETCHES_SECONDS
    publisher.poll(None)  # its thread would have every other turn to wait for the box
    reader.end()
    while not reader.complete and clock() < deadline:
        publisher.fetch(reader)


def ray_trainer(config: TrainConfig, payload: Any) -> Any:
    """Return Ray Train's trainer: one worker process per rank, without retries of Ray's own."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from trainer.driver.localgroup import LocalTrainer
    from trainer.driver.ranksgroup import ProcessGroupConfig, RanksTrainer
    from trainer.rank.worker import train_worker

    use_gpu = config.workers.gpus_per_worker > 0
    return (RanksTrainer if config.has_dashboard else LocalTrainer)(
        train_worker,
        train_loop_config={"payload": payload},
        scaling_config=ScalingConfig(
            num_workers=config.workers.world_size, use_gpu=use_gpu, resources_per_worker=resources_of_a_rank(config)
        ),
        run_config=RunConfig(
            # A name that exists would resume that Ray Train run; ours resume from our own checkpoints.
            name=f"{config.job.name}-{config.job.attempt}-{uuid.uuid4().hex[:6]}",
            # Nothing of ours goes there, and the output folder stays as it was until the input has passed its checks.
            storage_path=str(ray_folder() / "train"),
            # Retries are the controller's, except for workers that do not come up: once more, as for Ray itself.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=STARTS - 1),
            # For processes that inherit the pod's environment; those of a local Ray inherit that of this program, which is closed.
            worker_runtime_env={"env_vars": closed_environment()},
        ),
        backend_config=ProcessGroupConfig("nccl" if use_gpu else "gloo"),
    )


class BoxReader:
    """The driver's way to the box: fetches what the workers reported, and passes the request to stop on."""

    def __init__(self, box: Any, stop: StopRequest) -> None:
        self._box, self._stop = box, stop
        self._answer: Any = None
        self._ended = self._asked_at_the_end = False
        self.complete = False
        """Whether a call that was made after the end of the workers has been answered, or has failed: the box holds nothing more."""

    def end(self) -> None:
        """Call when the workers have ended."""
        self._ended = True

    def __call__(self) -> RecordUpdate:
        """Return what the workers reported since the last call; nothing when there is no answer yet. Raises what Ray does."""
        try:
            return self._fetched()
        except Exception:
            self.complete = self._ended  # a box that is gone has nothing more
            raise

    def _fetched(self) -> RecordUpdate:
        import ray

        if self._stop.wanted:
            self._box.request_stop.remote()
        # An answer that is late is waited for again next time: what it carries is in the box no more.
        if self._answer is None:
            self._asked_at_the_end = self._ended  # before the call: one that was under way may lack the last reports
            self._answer = self._box.fetch.remote()
        if not ray.wait([self._answer], timeout=FETCH_SECONDS)[0]:
            return RecordUpdate()
        answer, self._answer = self._answer, None
        changes: RecordUpdate
        changes, stage = ray.get(answer)
        self.complete = self._asked_at_the_end
        if stage is not None:
            self._stop.note(stage)
        return changes
