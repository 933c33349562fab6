"""LoRA on weights of 4 bits, on the device. Skipped where bitsandbytes is not installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from finetune.api.results import read_report
from tests.gpu.training import ON_DEVICE, STEPS, Sent, config, losses, one_rank, train
from tests.trainer.fixtures.learning import learner_with_rows
from trainer.storage.localfolder import LocalFolder

pytestmark = [*ON_DEVICE, pytest.mark.filterwarnings("ignore")]  # of DeepSpeed

ADAPTER = Path("model") / "adapter" / "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("bitsandbytes")
    return learner_with_rows(tmp_path_factory.mktemp("base"), train=24, width=64)


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    with one_rank():
        yield


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", [None, 2])
@pytest.mark.usefixtures("group")
def test_a_quantized_base_is_trained_measured_and_exported_and_a_resumed_run_ends_at_the_same_adapter(
    stage: int | None, precision: str, base: Path, tmp_path: Path
) -> None:
    settings = {"precision": precision, "zero_stage": stage, "quantization": {}, "export": ["adapter", "merged"]}
    plain = train(config(base, tmp_path / "plain", precision=precision))
    unbroken = train(config(base, tmp_path / "unbroken", **settings))
    stopped = config(base, tmp_path / "stopped", **settings)
    train(stopped, Sent(stop_after=STEPS // 2))
    assert losses(train(stopped)) == losses(unbroken)
    assert losses(unbroken)[0] == pytest.approx(losses(plain)[0], rel=0.2)
    assert losses(unbroken)[-1] < losses(unbroken)[0]
    one, other = (load_file(tmp_path / name / ADAPTER) for name in ("unbroken", "stopped"))
    assert all((one[name] == other[name]).all() for name in one)
    report = read_report(LocalFolder(tmp_path / "unbroken"))
    assert report is not None
    assert "nf4 (4-bit, double quantization)" in report["model"]["precision"]
    assert any("is trained and measured with weights in nf4" in warning for warning in report["warnings"])
    adapter, merged = report["exports"]
    assert adapter["logitDifference"] <= adapter["tolerance"]
    assert merged["differenceFromMeasured"] > merged["logitDifference"]
