"""The entry of one rank: what a Ray Train worker process does once it has joined the others.

Test: tests/trainer/rank/test_run.py (real Ray, a small model).
"""

import logging
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from finetune.api.timings import TimedStage
from finetune.api.trainconfig import TrainConfig
from finetune.system.hubaccess import close
from trainer.logs.starting import keep_log, rank_name
from trainer.rank.imports import import_for_rank
from trainer.rank.launch import use_threads
from trainer.rank.processgroup import take_device
from trainer.reporting.progress import Order

logger = logging.getLogger(__name__)

ORDER_POLL_SECONDS = 0.1


@dataclass
class Payload:
    """What every rank is started with; its input comes later, when it has been checked."""

    config: dict[str, Any]
    box: Any
    """Ray handle of the actor between the ranks and the driver."""


def train_worker(settings: dict[str, Any]) -> None:
    """Run one rank; `settings` holds a Payload under 'payload'."""
    close()  # whatever this process inherited, and before the first library of the hub
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    payload: Payload = settings["payload"]
    config = TrainConfig.model_validate(payload.config)
    if config.on_cluster:
        keep_log_of_rank(config)
    if config.workers.gpus_per_worker > 0:
        take_device()
    use_threads()
    import_for_rank(deepspeed=config.workers.deepspeed is not None)
    from trainer.rank.assignment import Assignment
    from trainer.rank.run import execute
    from trainer.reporting.progress import RayMetricsSink, WorkerProgress

    order = await_order(payload.box)
    if not config.on_cluster:  # the output folder may hold another run until the input has passed its checks
        keep_log_of_rank(config)
    sinks = [partial(RayMetricsSink, config.job)] if os.environ["RANK"] == "0" and config.has_dashboard and config.derived is None else []
    if os.environ["RANK"] != "0":  # rank 0 has figures to log; of the others a log says at least how far they came
        order.clock.tell = say_stage
    inputs, sender = pickle.loads(order.inputs), WorkerProgress(payload.box)  # noqa: S301 - the driver pickled it
    execute(Assignment(config, inputs, order.owner, sender, sinks, order.only_results, order.clock))


def keep_log_of_rank(config: TrainConfig) -> None:
    """Have what this rank writes copied to the output, from its first line on."""
    rank = int(os.environ["RANK"])
    keep_log(config, rank_name(rank), f"rank {rank} of {config.workers.world_size}")


def say_stage(stage: TimedStage) -> None:
    """Log that a stage begins, with the time: Ray Train's own lines have none."""
    logger.info("%sZ rank %s: %s", time.strftime("%H:%M:%S", time.gmtime()), os.environ["RANK"], stage.value)


def await_order(box: Any, pause: Callable[[float], None] = time.sleep) -> Order:
    """Return what the driver orders once it has checked the input. Raises what Ray does when the box goes with the driver."""
    import ray

    while (order := ray.get(box.order.remote())) is None:
        pause(ORDER_POLL_SECONDS)
    found: Order = order
    return found
