"""The entry of one rank: a Ray Train worker process becomes a rank of the run.

Sets the environment that torch and DeepSpeed expect from a launcher before importing either, then calls trainer.rank.run.
Test: tests/trainer/rank/test_run.py (real Ray, a small model).
"""

import logging
import pickle
from dataclasses import dataclass
from functools import partial
from typing import Any

from finetune.api.trainconfig import TrainConfig
from trainer.model.quickimport import keep_what_transformers_lists
from trainer.rank.launch import set_environment, use_threads
from trainer.reporting.stageclock import StageClock


@dataclass
class Payload:
    """What the driver sends to every rank. Small: rows and tokens stay in files, and only their paths are sent."""

    config: dict[str, Any]
    inputs: bytes
    """trainer.preflight.inputs.Inputs, pickled: Ray's own processes forward it and must not import its classes."""
    owner: str
    box: Any
    """Ray handle of the progress actor."""
    clock: StageClock
    """Has timed the driver's stages, and the start of the workers since it began."""
    only_results: bool = False
    """The run had finished before; missing results are made from its checkpoints, without training."""


def train_worker(settings: dict[str, Any]) -> None:
    """Run one rank; `settings` holds a Payload under 'payload'."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    payload: Payload = settings["payload"]
    config = TrainConfig.model_validate(payload.config)
    rank = prepare_environment(config)
    keep_what_transformers_lists()
    from trainer.rank.assignment import Assignment
    from trainer.rank.run import execute
    from trainer.reporting.progress import RayMetricsSink, WorkerProgress

    sinks = [partial(RayMetricsSink, config.job)] if rank == 0 else []
    inputs, sender = pickle.loads(payload.inputs), WorkerProgress(payload.box)  # noqa: S301 - the driver pickled it
    execute(Assignment(config, inputs, payload.owner, sender, sinks, payload.only_results, payload.clock))


def prepare_environment(config: TrainConfig) -> int:
    """Prepare this process for torch and DeepSpeed; return its rank. Ray has set OMP_NUM_THREADS to the CPUs of the worker."""
    import ray.train

    context = ray.train.get_context()
    rank: int = context.get_world_rank()
    set_environment(
        rank=rank,
        world_size=context.get_world_size(),
        local_rank=context.get_local_rank(),
        local_size=context.get_local_world_size(),
        gpu=config.workers.gpus_per_worker > 0,
    )
    use_threads()
    return rank
