from pathlib import Path

import pytest

from bench.gpu.shapes import LLAMA_1B, LLAMA_8B, SHAPES, SMALL_SHAPES, SMOLLM_135M, Shape, peak_flops
from finetune.api.trainconfig import TrainConfig


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        pytest.param(LLAMA_8B, 8_030_261_248, id="Llama-3-8B"),
        pytest.param(LLAMA_1B, 1_235_814_400, id="Llama-3.2-1B"),
        pytest.param(SMOLLM_135M, 134_515_008, id="SmolLM2-135M"),
    ],
)
def test_parameters_are_those_of_the_published_model(model: dict, parameters: int) -> None:
    assert Shape("a", model, lora=True, length=8, micro_batch=1, batch=1).parameters == parameters


def test_a_frozen_weight_costs_two_thirds_of_a_trained_one() -> None:
    frozen, trained = (Shape("a", LLAMA_8B, lora=lora, length=8, micro_batch=1, batch=1) for lora in (True, False))
    assert frozen.flops_per_token == 4 * frozen.parameters
    assert trained.flops_per_token == 6 * trained.parameters


@pytest.mark.parametrize("shape", [*SHAPES, *SMALL_SHAPES], ids=lambda shape: shape.name)
@pytest.mark.parametrize("gpus", [0, 1])
def test_the_configuration_is_valid_and_saves_a_checkpoint_between_measured_steps(shape: Shape, gpus: int) -> None:
    config = TrainConfig.model_validate(shape.config(Path("/files"), Path("/out"), gpus=gpus))
    assert config.workers.world_size == 1
    assert (config.method.lora is not None) == shape.lora
    assert config.exports == []
    assert 3 < config.checkpoint.every_steps < shape.steps - 1
    assert shape.batch % shape.micro_batch == 0


def test_only_known_cards_have_a_peak() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989.4e12
    assert peak_flops("some other card") is None
