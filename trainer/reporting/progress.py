"""What passes between the driver and its workers through a small Ray actor: the order to begin, progress, the request to stop.

Figures also go to Ray's metrics port, where there is a dashboard.

Reporting never fails training: rank 0 sends, and waits at most a fifth of a second for an answer.
Uses Ray. Test: tests/trainer/reporting/test_progress.py.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from pydantic.alias_generators import to_snake

from finetune.api.record import Stage
from finetune.api.tasks import METRICS_OF_TASKS
from finetune.api.trainconfig import JobIdentity
from trainer.reporting.messages import RecordUpdate
from trainer.reporting.stageclock import StageClock

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What the workers wait for when they have started. Small: rows and tokens stay in files, and only their paths are sent."""

    inputs: bytes
    """trainer.preflight.inputs.Inputs, pickled: the actor passes it on and must not import its classes."""
    owner: str
    """The mark on the run's checkpoints."""
    clock: StageClock
    """Has timed the driver's stages, and goes on in rank 0."""
    only_results: bool = False
    """The run had finished before; missing results are made from its checkpoints, without training."""


def progress_box(environment: Mapping[str, str]) -> Any:
    """Start a Ray actor that holds changes until the driver fetches them, and what the driver says to the workers.

    On the driver's own node: the node of a worker may go, with what was reported last, while the driver stays. `environment`: variables
    that its process has unlike others of this Ray.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here, runtime_env={"env_vars": dict(environment)} if environment else None)(
        ProgressBox
    ).remote()


class ProgressBox:
    """The class of the actor; holds a few kilobytes."""

    def __init__(self) -> None:
        self._changes = RecordUpdate()
        self._stage: Stage | None = None
        self._stop = False
        self._order: Order | None = None

    def give(self, order: Order) -> None:
        """Have the workers begin."""
        self._order = order

    def order(self) -> Order | None:
        """Return what the workers are to do, None as long as the input is being checked."""
        return self._order

    def put(self, changes: RecordUpdate) -> bool:
        """Store changes from rank 0; return whether the run should stop."""
        self._changes.update(changes)
        self._stage = changes.get("stage", self._stage)
        return self._stop

    def fetch(self) -> tuple[RecordUpdate, Stage | None]:
        """Return the changes since the last fetch, and always the stage, which decides how the driver handles SIGTERM."""
        changes, self._changes = self._changes, RecordUpdate()
        return changes, self._stage

    def request_stop(self) -> None:
        """Ask rank 0 to write a checkpoint and end after the current step."""
        self._stop = True


class WorkerProgress:
    """Rank 0's sender: sends without waiting; the answers say whether to stop."""

    def __init__(self, box: Any) -> None:
        self._box, self._answer, self._stop = box, None, False

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send changed fields of the record to the actor, without waiting for it."""
        self.stop_requested()
        self._answer = self._box.put.remote(changes)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return whether the latest answer, awaited up to `wait_seconds`, asks the run to stop."""
        import ray

        if self._answer is not None and ray.wait([self._answer], timeout=wait_seconds)[0]:
            try:
                self._stop = self._stop or bool(ray.get(self._answer))
            except ray.exceptions.RayError as error:
                logger.warning("the driver's progress actor is gone: %s", error)
            self._answer = None
        return self._stop


class RayMetricsSink:
    """Exposes figures as gauges on Ray's metrics port for Prometheus, tagged with job and attempt."""

    NAMES: ClassVar[dict[str, str]] = {
        "trainLoss": "finetune_train_loss",
        "tokensPerSecond": "finetune_tokens_per_second",
        "learningRate": "finetune_learning_rate",
        "gradientNorm": "finetune_gradient_norm",
        "general/perplexity": "finetune_general_perplexity",
    } | {f"validation/{name}": f"finetune_validation_{to_snake(name)}" for name in METRICS_OF_TASKS}

    def __init__(self, job: JobIdentity) -> None:
        from ray.util.metrics import Gauge

        self._tags = {"job": job.name, "attempt": str(job.attempt)}
        self._gauges = {name: Gauge(port_name, description=name, tag_keys=("job", "attempt")) for name, port_name in self.NAMES.items()}
        self._step = Gauge("finetune_step", description="optimizer steps done", tag_keys=("job", "attempt"))

    def log(self, step: int, figures: Mapping[str, float], known_at: float) -> None:
        """Set the step gauge, and the gauges of known figures; Prometheus takes the time at which it reads them."""
        self._step.set(step, tags=self._tags)
        for name, value in figures.items():
            if name in self._gauges:
                self._gauges[name].set(value, tags=self._tags)
