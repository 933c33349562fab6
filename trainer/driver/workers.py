"""Runs the ranks, as workers of Ray Train unless the only one can run in this program, and passes their reports on meanwhile.

Touches Ray. Tests: tests/trainer/driver/test_workers.py, tests/trainer/rank/test_run.py (real Ray).
"""

import pickle
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune.api.timings import TimedStage
from finetune.api.trainconfig import TrainConfig
from trainer.driver.here import fit_here, runs_here
from trainer.driver.publisher import Publisher
from trainer.driver.raystart import STARTS, resources_of_a_rank, start_ray
from trainer.driver.stopping import StopRequest
from trainer.preflight.inputs import Inputs
from trainer.reporting.messages import RecordUpdate
from trainer.reporting.stageclock import StageClock
from trainer.storage.ownership import Ownership

FETCH_SECONDS = 1.0
LAST_FETCHES_SECONDS = 5.0
"""At the end of the workers, a box that has not answered for this long is gone or hangs. A pod is killed 30 s after SIGTERM, and
its last record is written only after this."""


def fit(config: TrainConfig, inputs: Inputs, ownership: Ownership, publisher: Publisher, stop: StopRequest, clock: StageClock,
        *, only_results: bool = False) -> None:  # fmt: skip
    """Run the ranks; returns when all have ended well, raises their error otherwise. `only_results`: without training."""
    if runs_here(config):
        fit_here(config, inputs, ownership, publisher, stop, clock, only_results=only_results)
    else:
        fit_on_ray(config, inputs, ownership, publisher, stop, clock, only_results=only_results)


def fit_on_ray(config: TrainConfig, inputs: Inputs, ownership: Ownership, publisher: Publisher, stop: StopRequest, clock: StageClock,
               *, only_results: bool = False) -> None:  # fmt: skip
    """Run the ranks as workers of Ray Train."""
    clock.begin(TimedStage.RAY)
    start_ray(config)
    clock.begin(TimedStage.WORKERS)
    from trainer.rank.worker import Payload
    from trainer.reporting.progress import progress_box

    box = progress_box()
    reader = BoxReader(box, stop)
    publisher.poll(reader)
    payload = Payload(config.to_wire(), pickle.dumps(inputs), ownership.owner, box, clock.passed_on("rank 0"), only_results)
    trainer = ray_trainer(config, payload)
    try:
        trainer.fit()
    finally:
        fetch_the_rest(reader, publisher)


def fetch_the_rest(reader: "BoxReader", publisher: Publisher, clock: Callable[[], float] = time.monotonic) -> None:
    """Fetch until everything that the workers, which have ended, reported is with the publisher, or the time for it is over."""
    deadline = clock() + LAST_FETCHES_SECONDS
    publisher.poll(None)  # its thread would have every other turn to wait for the box
    reader.end()
    while not reader.complete and clock() < deadline:
        publisher.fetch(reader)


def ray_trainer(config: TrainConfig, payload: Any) -> Any:
    """Return Ray Train's trainer: one worker process per rank, without retries of Ray's own."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from trainer.rank.worker import train_worker

    use_gpu = config.workers.gpus_per_worker > 0
    return TorchTrainer(
        train_worker,
        train_loop_config={"payload": payload},
        scaling_config=ScalingConfig(
            num_workers=config.workers.world_size, use_gpu=use_gpu, resources_per_worker=resources_of_a_rank(config)
        ),
        run_config=RunConfig(
            # A name that exists would resume that Ray Train run; ours resume from our own checkpoints.
            name=f"{config.job.name}-{config.job.attempt}-{uuid.uuid4().hex[:6]}",
            storage_path=str(Path(config.output.directory) / ".finetune" / "ray"),
            # Retries are the controller's, except for workers that do not come up: once more, as for Ray itself.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=STARTS - 1),
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
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
