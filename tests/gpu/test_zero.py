"""DeepSpeed's stages on one device train as DistributedDataParallel does. Skipped where deepspeed is not installed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed

from tests.gpu.training import DEVICE, ON_DEVICE, config, losses, train
from tests.trainer.fixtures.learning import learner_with_rows

pytestmark = [*ON_DEVICE, pytest.mark.filterwarnings("ignore")]  # of DeepSpeed


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("base"), train=24)


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    """The process group of one rank, and the environment that a launcher sets."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.MonkeyPatch.context() as environment:
        if DEVICE == "cpu":
            environment.setenv("DS_ACCELERATOR", "cpu")
        for name in ("RANK", "LOCAL_RANK"):
            environment.setenv(name, "0")
        for name in ("WORLD_SIZE", "LOCAL_SIZE", "LOCAL_WORLD_SIZE"):
            environment.setenv(name, "1")
        environment.setenv("MASTER_ADDR", "127.0.0.1")
        environment.setenv("MASTER_PORT", str(port))
        torch.distributed.init_process_group("nccl" if DEVICE == "cuda" else "gloo")
        yield
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.usefixtures("group")
def test_a_stage_trains_as_distributed_data_parallel_does(stage: int, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    plain, sharded = (train(config(base, tmp_path / str(zero), zero_stage=zero)) for zero in (None, stage))
    assert losses(sharded) == pytest.approx(losses(plain), rel=1e-3)
