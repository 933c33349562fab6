"""What a forward pass keeps for backward, counted without data, is what a real one keeps."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from finetune.api.sections import LoraMethod, Method, Regularization
from tests.trainer.fixtures.causal import tiny_gpt2, tiny_model
from trainer.model.activations import activation_bytes
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.objectives.family import CAUSAL_LM

TOKENS = 64


def with_adapters() -> Any:
    model = apply_method(tiny_model(), Method(lora=LoraMethod(rank=4)), Regularization(), 1, CAUSAL_LM)
    fuse_adapters(model)
    return model


def really_kept(model: Any) -> int:
    """Return the bytes of all storages that a real forward pass keeps on the CPU, less the weights'."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor  # alive, so that no other storage gets its address
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model.train()(torch.ones((1, TOKENS), dtype=torch.long), use_cache=False).logits
    del logits
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("build", [tiny_model, tiny_gpt2, with_adapters])
def test_the_count_is_that_of_a_real_pass(build: Callable[[], Any]) -> None:
    """Without dropout: with it a CPU computes attention in parts and keeps its matrix."""
    model = build()
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.p = 0.0
    expected = really_kept(copy.deepcopy(model))
    assert activation_bytes(model.to("meta"), torch.float32, TOKENS, CAUSAL_LM) == pytest.approx(expected, rel=0.15)


def test_it_grows_with_the_tokens_and_halves_with_the_type() -> None:
    one = activation_bytes(tiny_model().to("meta"), torch.float32, 64, CAUSAL_LM)
    many = activation_bytes(tiny_model().to("meta"), torch.float32, 6400, CAUSAL_LM)
    half = activation_bytes(tiny_model().to("meta"), torch.bfloat16, 64, CAUSAL_LM)
    assert one is not None
    assert half is not None
    assert many == pytest.approx(100 * one, rel=1e-6)
    assert 0.4 * one < half < 0.8 * one


def test_an_architecture_that_needs_data_has_no_estimate() -> None:
    class Stubborn(torch.nn.Module):
        def forward(self, **_: Any) -> Any:
            raise NotImplementedError

    assert activation_bytes(Stubborn(), torch.float32, 64, CAUSAL_LM) is None
    assert activation_bytes(None, torch.float32, 64, CAUSAL_LM) is None
