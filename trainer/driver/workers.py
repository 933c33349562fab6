"""Runs the ranks as workers of Ray Train, and passes their reports on while they run.

Touches Ray. Tests: tests/trainer/driver/test_workers.py, tests/trainer/rank/test_run.py (real Ray).
"""

import uuid
from pathlib import Path
from typing import Any

from finetune.api.trainconfig import TrainConfig
from trainer.driver.raystart import STARTS, resources_of_a_rank, start_ray
from trainer.driver.stopping import StopRequest
from trainer.preflight.inputs import Inputs
from trainer.reporting.progress import ProgressReporter
from trainer.storage.ownership import Ownership


def fit(config: TrainConfig, inputs: Inputs, ownership: Ownership, reporter: ProgressReporter, stop: StopRequest,
        *, trained: bool = False) -> None:  # fmt: skip
    """Run the workers on Ray; returns when all have ended well, raises their error otherwise. `trained`: only results are missing."""
    start_ray(config)
    import ray

    from trainer.rank.worker import Payload
    from trainer.reporting.progress import BoxReader, progress_box

    box = progress_box()
    reporter.poll(BoxReader(box, stop))
    trainer = ray_trainer(config, Payload(config.to_wire(), ray.put(inputs), ownership.owner, box, trained))
    try:
        trainer.fit()
    finally:
        reporter.fetch()
        reporter.poll(None)


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
