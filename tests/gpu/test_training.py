"""A rank's training on the device: the figures of the CPU, and what only a device can show. See tests/gpu/training.py."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.api.record import REASON_MEMORY
from tests.gpu.training import DEVICE, ON_DEVICE, STEPS, Sent, config, losses, train
from tests.trainer.fixtures.learning import learner_with_rows
from trainer.driver.exits import reason_of
from trainer.engine.precision import TF32_SINCE

pytestmark = ON_DEVICE


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("base"), train=24)


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_the_device_computes_what_the_cpu_computes(full: bool, base: Path, tmp_path: Path) -> None:
    here, there = (train(config(base, tmp_path / device, device, full=full)) for device in ("cpu", DEVICE))
    assert losses(there) == pytest.approx(losses(here), rel=1e-3)
    assert [line["gradientNorm"] for line in there] == pytest.approx([line["gradientNorm"] for line in here], rel=1e-2)
    assert losses(there)[-1] < losses(there)[0]


def test_bfloat16_learns_what_float32_learns_and_keeps_the_adapter_in_float32(base: Path, tmp_path: Path) -> None:
    exact, rounded = (train(config(base, tmp_path / precision, precision=precision)) for precision in ("float32", "bfloat16"))
    assert losses(rounded) == pytest.approx(losses(exact), rel=0.03)
    adapter = load_file(tmp_path / "bfloat16" / "model" / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_float16_learns_what_float32_learns_and_goes_on_bit_for_bit_after_a_stop(full: bool, base: Path, tmp_path: Path) -> None:
    exact = train(config(base, tmp_path / "float32", full=full))
    scaled = train(config(base, tmp_path / "float16", precision="float16", full=full))
    assert losses(scaled) == pytest.approx(losses(exact), rel=0.03)
    assert all(line["lossScale"] >= 1 for line in scaled)
    train(config(base, tmp_path / "parts", precision="float16", full=full), Sent(stop_after=3))
    continued = train(config(base, tmp_path / "parts", precision="float16", full=full))
    names = ("step", "trainLoss", "gradientNorm", "lossScale", "repeatedSteps")
    assert [[line[name] for name in names] for line in continued] == [[line[name] for name in names] for line in scaled]
    report = json.loads((tmp_path / "parts" / "report.json").read_text())
    assert report["hyperparameters"]["training"]["precision"] == "float16"
    assert [report["training"][name] for name in ("lossScale", "repeatedSteps")] == [scaled[-1][name] for name in names[-2:]]


def test_tf32_rounds_matrix_products_where_the_device_has_it_and_the_report_says_so(base: Path, tmp_path: Path) -> None:
    exact, rounded = (train(config(base, tmp_path / precision, precision=precision)) for precision in ("float32", "tf32"))
    has_it = DEVICE == "cuda" and torch.cuda.get_device_capability() >= TF32_SINCE
    assert torch.get_float32_matmul_precision() == ("high" if has_it else "highest")
    report = json.loads((tmp_path / "tf32" / "report.json").read_text())
    assert report["hyperparameters"]["training"]["precision"] == ("tf32" if has_it else "float32")
    assert losses(rounded) == pytest.approx(losses(exact), rel=1e-2 if has_it else 1e-7)
    train(config(base, tmp_path / "after"))
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(DEVICE == "cpu", reason="the precision that is chosen is the device's")
def test_bfloat16_is_chosen_where_the_device_has_it(base: Path, tmp_path: Path) -> None:
    chosen, named = (train(config(base, tmp_path / precision, precision=precision)) for precision in ("auto", "bfloat16"))
    assert losses(chosen) == pytest.approx(losses(named), rel=1e-3)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(base: Path, tmp_path: Path) -> None:
    whole = train(config(base, tmp_path / "whole"))
    stopped = train(config(base, tmp_path / "parts"), Sent(stop_after=3))
    assert len(stopped) < STEPS
    continued = train(config(base, tmp_path / "parts"))
    assert [line["step"] for line in continued] == list(range(1, STEPS + 1))
    assert losses(continued) == pytest.approx(losses(whole), rel=1e-5)


def test_packed_rows_have_the_losses_of_rows_alone(base: Path, tmp_path: Path) -> None:
    packed, alone = (train(config(base, tmp_path / packing, packing=packing)) for packing in ("always", "never"))
    assert losses(packed)[0] == pytest.approx(losses(alone)[0], rel=1e-3)


@pytest.mark.skipif(DEVICE == "cpu", reason="the memory of a CPU cannot be limited like this")
def test_too_little_memory_on_the_device_is_reported_as_such(base: Path, tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            train(config(base, tmp_path / "large", globalBatchSize=64, microBatchSize=64))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert reason_of(caught.value) == REASON_MEMORY
