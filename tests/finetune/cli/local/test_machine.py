"""A job for a cluster is spread over what this machine has."""

from typing import Any

import pytest

from finetune.api.spec import FineTuneJobSpec
from finetune.cli.local.machine import Machine, spread
from tests.finetune.cli.builders import job


def spec(workers: int, gpus: int = 0, batch: int = 16) -> FineTuneJobSpec:
    changes: dict[str, Any] = {"spec__distributed": {"workers": workers}, "spec__resources": {"gpus": gpus}}
    return FineTuneJobSpec.model_validate(job(spec__training__globalBatchSize=batch, **changes)["spec"])


@pytest.mark.parametrize(
    ("asked", "machine", "ranks"),
    [
        pytest.param(spec(2), Machine(8, 0), (2, 0, 4), id="cpu-share"),
        pytest.param(spec(4), Machine(2, 0), (4, 0, 1), id="fewer-cpus-than-workers"),
        pytest.param(spec(2), Machine(8, 4), (2, 0, 4), id="no-gpu-asked-none-taken"),
        pytest.param(spec(2, 2), Machine(8, 4), (2, 2, 4), id="as-asked"),
        pytest.param(spec(4, 2), Machine(8, 4), (2, 2, 4), id="fewer-workers"),
        pytest.param(spec(4, 1, batch=8), Machine(8, 3), (2, 1, 4), id="ranks-divide-the-batch"),
        pytest.param(spec(1, 8), Machine(8, 3), (1, 2, 8), id="part-of-a-worker"),
        pytest.param(spec(2, 8), Machine(8, 0), (2, 0, 4), id="cpus-instead-of-gpus"),
    ],
)
def test_ranks_fit_the_machine(asked: FineTuneJobSpec, machine: Machine, ranks: tuple[int, int, int]) -> None:
    workers, _ = spread(asked, machine)
    assert (workers.workers, workers.gpus_per_worker, workers.cpus_per_worker) == ranks
    assert asked.training.global_batch_size % workers.world_size == 0


def test_fewer_gpus_than_asked_for_are_reported() -> None:
    _, warning = spread(spec(2, 8), Machine(8, 0))
    assert warning == "spec.resources.gpus: the job asks for 2 x 8 GPUs, this machine has 0; it runs on CPUs"


@pytest.mark.parametrize("gpus", [0, 2])
def test_nothing_is_offloaded_where_there_is_no_gpu_to_offload_from(gpus: int) -> None:
    deepspeed = {"zeroStage": 3, "offload": {"optimizer": True}}
    changes: dict[str, Any] = {"spec__distributed": {"deepspeed": deepspeed}, "spec__resources": {"gpus": 1}}
    workers, _ = spread(FineTuneJobSpec.model_validate(job(**changes)["spec"]), Machine(8, gpus))
    assert workers.deepspeed is not None
    assert workers.deepspeed.zero_stage == 3
    assert (workers.deepspeed.offload is None) == (gpus == 0)


def test_devices_that_are_hidden_from_the_process_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Machine.here().gpus == 0
