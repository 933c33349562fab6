"""DeepSpeed's stages on one device train as DistributedDataParallel does. Skipped where deepspeed is not installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.gpu.training import NEEDS_FLOAT16, ON_DEVICE, STEPS, Sent, config, losses, one_rank, train
from tests.trainer.fixtures.learning import learner_with_rows
from trainer.engine import deepspeed
from trainer.engine.lossscale import LossScale
from trainer.engine.state import PARAMETERS
from trainer.storage.tensors import SavedTensors

pytestmark = [*ON_DEVICE, pytest.mark.filterwarnings("ignore")]  # of DeepSpeed


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("base"), train=24)


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    with one_rank():
        yield


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), pytest.param("float16", 0.03, marks=NEEDS_FLOAT16)])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.usefixtures("group")
def test_a_stage_trains_as_distributed_data_parallel_does(stage: int, precision: str, tolerance: float, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    plain, sharded = (train(config(base, tmp_path / str(zero), precision=precision, zero_stage=zero)) for zero in (None, stage))
    assert losses(sharded) == pytest.approx(losses(plain), rel=tolerance)


@pytest.mark.parametrize(
    ("stage", "precision"),
    [
        *((stage, precision) for stage in (1, 2, 3) for precision in ("float32", "bfloat16")),
        pytest.param(3, "float16", marks=NEEDS_FLOAT16),
    ],
)
@pytest.mark.usefixtures("group")
def test_full_fine_tuning_with_offload_trains_as_without_and_resumes(stage: int, precision: str, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    settings = {"zero_stage": stage, "full": True, "precision": precision, "learningRate": 1e-3}
    offload = {"optimizer": True, "parameters": stage == 3}
    plain = train(config(base, tmp_path / "plain", **settings))
    stopped = config(base, tmp_path / "offloaded", offload=offload, **settings)
    train(stopped, Sent(stop_after=STEPS // 2))
    resumed = train(stopped)
    assert [line["step"] for line in resumed] == list(range(1, STEPS + 1))
    assert losses(resumed) == pytest.approx(losses(plain), rel=1e-3 if precision == "float32" else 1e-2)
    assert (tmp_path / "offloaded" / "model" / "merged" / "model.safetensors").is_file()


@NEEDS_FLOAT16
@pytest.mark.parametrize(("stage", "offload"), [(1, False), (2, False), (3, False), (3, True)])
@pytest.mark.usefixtures("group")
def test_a_step_that_overflows_float16_is_repeated_with_a_smaller_scale(
    stage: int, offload: bool, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("deepspeed")
    settings = {"zero_stage": stage, "full": True, "precision": "float16", "learningRate": 1e-3}
    settings["offload"] = {"optimizer": True} if offload else None
    fitting = train(config(base, tmp_path / "fitting", **settings))
    monkeypatch.setattr(deepspeed, "LossScale", lambda: LossScale(2.0**24))
    repeated = train(config(base, tmp_path / "repeated", **settings))
    assert repeated[-1]["repeatedSteps"] >= 1
    assert repeated[-1]["lossScale"] < 2.0**24
    assert losses(repeated) == pytest.approx(losses(fitting), rel=1e-2)


@pytest.mark.parametrize("stage", [None, 2, 3])
@pytest.mark.usefixtures("group")
def test_a_checkpoint_that_was_written_while_training_went_on_has_the_state_of_its_step(
    stage: int | None, base: Path, tmp_path: Path
) -> None:
    if stage is not None:
        pytest.importorskip("deepspeed")
    settings = {"zero_stage": stage, "full": True, "scheduler": "constant", "warmupRatio": 0}  # the same rate however many steps follow
    train(config(base, tmp_path / "longer", **settings))
    train(config(base, tmp_path / "ended", maxSteps=2, **settings))
    meanwhile, last = (SavedTensors(tmp_path / name / "checkpoints" / "step-2") for name in ("longer", "ended"))
    assert set(meanwhile.names()) == set(last.names()) > {PARAMETERS}
    for group in last.names():
        torch.testing.assert_close(meanwhile.whole(group), last.whole(group), rtol=1e-5, atol=1e-7)
