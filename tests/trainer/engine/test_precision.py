"""Which arithmetic a run gets on which device, and in what type its weights are held."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from finetune.api.errors import InputError
from finetune.api.sections import Deepspeed, Offload, Precision
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from trainer.engine import factory
from trainer.engine.precision import exact_products, precision_of, refuse_float16_offloaded, set_matrix_products, weights_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def config(precision: str, *, method: str = "lora", zero_stage: int | None = None) -> TrainConfig:
    workers: dict[str, Any] = {"workers": 1} | ({} if zero_stage is None else {"deepspeed": {"zeroStage": zero_stage}})
    return train_config(training={"epochs": 1, "precision": precision}, method={method: {}}, workers=workers)


@pytest.fixture
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card of the compute capability that the test names; bfloat16 came with the same generation as TF32."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or request.param >= (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: request.param)


@pytest.mark.parametrize(
    ("card", "wanted", "expected"),
    [
        ((9, 0), "auto", Precision.BFLOAT16), ((7, 5), "auto", Precision.FLOAT16), ((9, 0), "tf32", Precision.TF32),
        ((7, 5), "tf32", Precision.FLOAT32), ((9, 0), "float32", Precision.FLOAT32), ((9, 0), "float16", Precision.FLOAT16),
    ],
    indirect=["card"],
)  # fmt: skip
@pytest.mark.usefixtures("card")
def test_a_gpu_computes_in_the_best_that_it_has_or_in_what_is_asked_for(wanted: str, expected: Precision) -> None:
    assert precision_of(config(wanted), CUDA) is expected


@pytest.mark.parametrize(("wanted", "expected"), [("auto", "float32"), ("tf32", "float32"), ("float16", "float16")])
def test_a_cpu_computes_in_float32_unless_sixteen_bits_are_asked_for(wanted: str, expected: str) -> None:
    assert precision_of(config(wanted), CPU) is Precision(expected)


@pytest.mark.parametrize(
    ("method", "zero_stage", "held"),
    [
        pytest.param("lora", None, torch.float16, id="frozen"),
        pytest.param("full", None, torch.float32, id="trained"),
        pytest.param("full", 0, torch.float32, id="trained, stage 0"),
        pytest.param("full", 1, torch.float16, id="trained, with masters"),
        pytest.param("osf", None, torch.float32, id="merged with what is trained"),
    ],
)
def test_weights_are_held_in_sixteen_bits_where_nothing_is_lost_by_it(method: str, zero_stage: int | None, held: torch.dtype) -> None:
    assert weights_dtype(config("float16", method=method, zero_stage=zero_stage), CPU) is held


@pytest.mark.parametrize(
    ("precision", "setting"), [(Precision.TF32, "high"), (Precision.FLOAT32, "highest"), (Precision.BFLOAT16, "highest")]
)
def test_matrix_products_are_rounded_only_under_tf32(precision: Precision, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", found.append)
    set_matrix_products(precision, CPU)
    set_matrix_products(precision, CUDA)
    assert found == [setting], "the setting of a CPU is another one, which nobody has asked for"


def test_matrix_products_are_exact_where_their_figures_are_compared_and_then_rounded_as_before() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("precision", "zero_stage", "device", "refused"),
    [("float16", 1, CPU, True), ("float16", 0, CPU, False), ("float32", 1, CPU, False), ("float16", 1, CUDA, False)],
)
def test_a_cpu_without_float16_is_told_what_it_has_before_weights_are_loaded(
    precision: str, zero_stage: int, device: torch.device, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: False)
    monkeypatch.setattr(factory, "start_deepspeed", lambda _: None)

    def load() -> torch.nn.Module:
        raise ZeroDivisionError

    expected = (InputError, r"training\.precision: .*float16.*use float32") if refused else (ZeroDivisionError, None)
    with pytest.raises(expected[0], match=expected[1]):
        factory.build_engine(config(precision, zero_stage=zero_stage), load, device)


@pytest.mark.parametrize(("stage", "refused"), [(1, True), (2, True), (3, False)])
def test_float16_is_refused_where_an_offloaded_gradient_would_stay_overflowed(stage: int, refused: bool) -> None:
    section = Deepspeed(zero_stage=stage, offload=Offload(optimizer=True))
    with pytest.raises(InputError, match=r"distributed\.deepspeed\.offload: .* set zeroStage to 3") if refused else nullcontext():
        refuse_float16_offloaded(section, torch.float16)
    refuse_float16_offloaded(section, torch.bfloat16)
