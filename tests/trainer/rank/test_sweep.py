"""Weights between base and tuned ones: exactly that much of an adapter, or of the way of each weight; and the tuned ones afterwards.

The figures of a whole run's sweep are in test_adapting.py.
"""

import numpy as np
import pytest
import torch

from finetune.api.sections import Method, Regularization
from tests.trainer.fixtures.causal import tiny_model
from trainer.engine.state import EngineState
from trainer.model.line import left_out
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.objectives.causal import CAUSAL
from trainer.rank.sweep import Mixed, scaled_adapters

IDS = torch.arange(3, 13).unsqueeze(0)


def adapted() -> torch.nn.Module:
    """Return a model with adapters that add something."""
    method = Method.model_validate({"lora": {"rank": 4, "alpha": 6}})
    model = apply_method(tiny_model(), method, Regularization(), 1, CAUSAL.family).eval()
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("position", [0.0, 0.3, 1.0])
def test_an_adapter_adds_as_much_as_the_position_says_and_all_of_it_afterwards(position: float, fused: bool) -> None:
    model, merged = adapted(), adapted()
    if fused:
        assert fuse_adapters(model) > 0
    with torch.no_grad():
        before = model(input_ids=IDS).logits
        with scaled_adapters(model, position):
            found = model(input_ids=IDS).logits
        after = model(input_ids=IDS).logits
        base = tiny_model()
        for name, module in merged.named_modules():
            if hasattr(module, "lora_A"):
                weight = base.get_submodule(name.removeprefix("base_model.model.")).weight
                weight += position * 6 / 4 * module.lora_B["default"].weight @ module.lora_A["default"].weight
        expected = base(input_ids=IDS).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(before, after)


def test_adapters_are_restored_where_a_measurement_fails() -> None:
    model = adapted()
    with torch.no_grad():
        before = model(input_ids=IDS).logits
        with pytest.raises(RuntimeError, match="measurement"), scaled_adapters(model, 0.5):
            raise RuntimeError("measurement")
        assert torch.equal(model(input_ids=IDS).logits, before)


def test_what_is_trained_beside_adapters_leaves_a_sweep_out() -> None:
    model, method = adapted(), Method.model_validate({"lora": {}})
    assert left_out(method, model, sharded=False) is None
    model.get_submodule("base_model.model.model.norm").weight.requires_grad_(True)
    assert (left_out(method, model, sharded=False) or "").endswith("trained beside the adapters")


def test_every_range_of_a_mixed_weight_is_that_much_of_the_way() -> None:
    base, tuned = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[3.0, 2.0], [1.0, 8.0]])
    mixed = Mixed(EngineState({"w": tuned}, {"exp_avg": {"w": tuned}}), {"w": base})
    assert {group: list(names) for group, names in mixed.at(0.25).names().items()} == {"parameters": ["w"]}
    np.testing.assert_allclose(mixed.at(0.25).read("parameters", "w", 1, 4), [2.0, 2.5, 5.0])
    assert torch.equal(mixed.at(1.0).read("parameters", "w", 0, 4), tuned.flatten())
    assert torch.equal(mixed.at(0.0).read("parameters", "w", 0, 4), base.flatten())
