"""What the driver asks of Ray Train."""

from pathlib import Path

import pytest

from tests.builders import train_config
from trainer.driver.workers import ray_trainer


@pytest.mark.parametrize(
    ("workers", "ranks", "use_gpu", "resources", "backend"),
    [
        pytest.param({"workers": 2, "gpusPerWorker": 4, "cpusPerWorker": 16}, 8, True, {"CPU": 4.0, "GPU": 1.0}, "nccl", id="GPUs"),
        pytest.param({"workers": 3, "gpusPerWorker": 0, "cpusPerWorker": 2}, 3, False, {"CPU": 2.0}, "gloo", id="CPUs"),
    ],
)
def test_each_gpu_or_each_worker_without_one_is_a_rank(
    tmp_path: Path, workers: dict[str, int], ranks: int, use_gpu: bool, resources: dict[str, float], backend: str
) -> None:
    config = train_config(workers=workers, output={"directory": str(tmp_path)})
    trainer = ray_trainer(config, payload=None)
    scaling = trainer.scaling_config
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (ranks, use_gpu, resources)
    assert trainer.backend_config.backend == backend
    assert trainer.run_config.failure_config.max_failures == 0, "attempts are the controller's"
