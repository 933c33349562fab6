"""The fused layer against PEFT's own forward and backward, with the same dropout mask; what it keeps for backward; what stays PEFT's."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from tests.trainer.fixtures.causal import random_prompts, tiny_gpt2, tiny_model
from trainer.model.lora import peft_warnings_silenced
from trainer.model.loralinear import LoraLinear, fuse_adapters

IN, OUT, RANK, ALPHA = 24, 40, 4, 12
INPUT = torch.tensor(random_prompts([12, 12]))


class Block(nn.Module):
    """One linear layer, as a model that PEFT can adapt."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Linear(IN, OUT, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class SameMask(nn.Module):
    """Dropout by a mask that is given, in place of PEFT's."""

    def __init__(self, mask: Tensor, probability: float) -> None:
        super().__init__()
        self.mask, self.probability = mask, probability

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask.view(x.shape) / (1 - self.probability)


def adapted(module: nn.Module, *, dropout: float = 0.0, **options: Any) -> nn.Module:
    """Return the module with PEFT's adapters, which act already, in train mode."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, **{"target_modules": "all-linear", **options})
    with peft_warnings_silenced(), torch.random.fork_rng():
        torch.manual_seed(1)
        model = get_peft_model(module, config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.3)
    return model.train()


def layer_pair(*, bias: bool = True, dropout: float = 0.0) -> tuple[Any, Any]:
    """Return a layer as PEFT computes it and the same layer fused."""
    torch.manual_seed(4)
    plain = adapted(Block(bias), dropout=dropout, target_modules=["proj"])
    fused = copy.deepcopy(plain)
    assert fuse_adapters(fused) == 1
    return plain.base_model.model.proj, fused.base_model.model.proj


def kept_by(compute: Callable[[], Tensor], known: set[int]) -> tuple[Tensor, list[Tensor]]:
    """Return the result, and what it keeps for backward: one tensor per storage that is not in `known`."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        return compute(), list(kept.values())


def storages(*tensors: Tensor) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def size_bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def gradients(layer: nn.Module, compute: Callable[[], Tensor], x: Tensor) -> dict[str, Tensor]:
    """Return the output and the gradients of a loss that weights each output differently."""
    x.grad = None
    output = compute()
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    (output.float() * weights).sum().backward()
    found = {name: parameter.grad for name, parameter in layer.named_parameters() if parameter.grad is not None}
    return {"output": output.detach(), **found, **({} if x.grad is None else {"x": x.grad})}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        torch.testing.assert_close(found[name].float(), value.float(), rtol=tolerance, atol=tolerance * float(value.abs().max()))


@pytest.mark.parametrize("shape", [(7, IN), (2, 5, IN)], ids=["rows", "batch"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("autocast", "weights", "adapter", "tolerance"),
    [
        pytest.param(False, torch.float32, torch.float32, 1e-6, id="float32"),
        pytest.param(True, torch.float32, torch.float32, 2e-2, id="autocast"),
        pytest.param(True, torch.bfloat16, torch.float32, 2e-2, id="autocast, frozen weights in bfloat16"),
        pytest.param(False, torch.bfloat16, torch.bfloat16, 2e-2, id="all in bfloat16"),
        pytest.param(False, torch.bfloat16, torch.float32, 2e-2, id="adapter in float32 without autocast"),
    ],
)
def test_output_and_gradients_are_peft_s(
    shape: tuple[int, ...], bias: bool, dropout: float, autocast: bool, weights: torch.dtype, adapter: torch.dtype, tolerance: float
) -> None:
    plain, fused = layer_pair(bias=bias, dropout=dropout)
    for layer in (plain, fused):
        layer.base_layer.to(weights)
        layer.lora_A.to(adapter), layer.lora_B.to(adapter)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(torch.float32 if autocast else weights).requires_grad_()
    context = torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
    with context:
        output, kept = kept_by(lambda: fused(x), set())
        masks = [tensor for tensor in kept if tensor.dtype == torch.uint8]
        if masks:
            plain.lora_dropout["default"] = SameMask(masks[0], dropout)
        state = torch.get_rng_state()
        expected = gradients(plain, lambda: plain(x), x)
        torch.set_rng_state(state)
        found = gradients(fused, lambda: output, x)

    assert len(masks) == (dropout > 0)
    assert_equal(found, expected, tolerance)
    assert not any("base_layer" in name for name in found)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_those_of_finite_differences(bias: bool, dropout: float) -> None:
    _, fused = layer_pair(bias=bias, dropout=dropout)
    fused.double()
    down, up = fused.lora_A["default"].weight, fused.lora_B["default"].weight
    x = torch.randn(2, 3, IN, dtype=torch.float64, requires_grad=True)

    def compute(x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        torch.manual_seed(9)
        return torch.func.functional_call(fused, {"lora_A.default.weight": down, "lora_B.default.weight": up}, (x,))

    assert torch.autograd.gradcheck(compute, (x, down, up))


def test_an_input_without_gradient_gets_none_and_the_adapter_s_are_the_same() -> None:
    plain, fused = layer_pair()
    x = torch.randn(3, IN)

    found = gradients(fused, lambda: fused(x), x)

    assert_equal(found, gradients(plain, lambda: plain(x), x), 1e-6)
    assert x.grad is None


@pytest.mark.parametrize(("dropout", "mask_bytes"), [(0.0, 0), (0.3, 1)])
def test_backward_keeps_the_input_itself_and_at_most_a_byte_of_mask_for_each_element(dropout: float, mask_bytes: int) -> None:
    plain, fused = layer_pair(dropout=dropout)
    x = torch.randn(64, IN, requires_grad=True)
    weights = storages(*fused.parameters())

    output, kept = kept_by(lambda: fused(x), weights | storages(x))

    assert size_bytes(kept) == 64 * RANK * 4 + 64 * IN * mask_bytes
    assert output.requires_grad
    _, kept_by_peft = kept_by(lambda: plain(x), storages(*plain.parameters(), x))
    assert size_bytes(kept_by_peft) >= size_bytes(kept)


def test_layers_with_the_same_input_keep_it_once_under_autocast_too() -> None:
    layers = [layer_pair(dropout=0.0)[1] for _ in range(3)]
    x = torch.randn(64, IN, requires_grad=True)
    known = storages(x, *(parameter for layer in layers for parameter in layer.parameters()))

    with torch.autocast("cpu", torch.bfloat16):
        _, kept = kept_by(lambda: torch.stack([layer(x) for layer in layers]), known)

    assert size_bytes(kept) == 3 * 64 * RANK * 2


def test_dropout_leaves_out_the_asked_share_and_keeps_the_mean() -> None:
    _, fused = layer_pair(dropout=0.2)
    x = torch.ones(2000, IN, requires_grad=True)

    output, kept = kept_by(lambda: fused(x), storages(*fused.parameters(), x))

    [mask] = [tensor for tensor in kept if tensor.dtype == torch.uint8]
    assert float(mask.float().mean()) == pytest.approx(0.8, abs=0.01)
    torch.testing.assert_close(output.mean(0), fused.eval()(x).mean(0), rtol=0.05, atol=0.05)


def test_dropout_follows_the_global_generator_and_differs_between_calls() -> None:
    _, fused = layer_pair(dropout=0.5)
    x = torch.randn(4, IN)
    torch.manual_seed(6)
    first, second = fused(x), fused(x)
    torch.manual_seed(6)

    assert torch.equal(fused(x), first)
    assert not torch.equal(first, second)


def test_a_recomputed_layer_gets_the_same_mask() -> None:
    _, fused = layer_pair(dropout=0.5)
    x = torch.randn(4, IN, requires_grad=True)
    torch.manual_seed(6)
    kept = gradients(fused, lambda: fused(x), x)
    fused.zero_grad()
    torch.manual_seed(6)

    recomputed = gradients(fused, lambda: checkpoint(fused, x, use_reentrant=False), x)

    assert_equal(recomputed, kept, 0)


def test_a_model_has_the_same_names_logits_and_gradients_as_under_peft() -> None:
    plain, fused = adapted(tiny_model()), adapted(tiny_model())
    assert fuse_adapters(fused) == 14

    for model in (plain, fused):
        model(INPUT, labels=INPUT).loss.backward()

    assert list(fused.state_dict()) == list(plain.state_dict())
    expected = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.grad is not None}
    assert_equal({name: parameter.grad for name, parameter in fused.named_parameters() if parameter.grad is not None}, expected, 1e-5)


def test_a_fused_model_can_be_merged_switched_off_and_saved_as_peft_s() -> None:
    plain, fused = adapted(tiny_model()).eval(), adapted(tiny_model()).eval()
    fuse_adapters(fused)

    with fused.disable_adapter():
        assert torch.equal(fused(INPUT).logits, tiny_model()(INPUT).logits)
    torch.testing.assert_close(fused(INPUT).logits, plain(INPUT).logits, rtol=1e-5, atol=1e-5)
    fused.merge_adapter()
    torch.testing.assert_close(fused(INPUT).logits, plain(INPUT).logits, rtol=1e-4, atol=1e-4)
    fused.unmerge_adapter()
    torch.testing.assert_close(fused.merge_and_unload()(INPUT).logits, plain(INPUT).logits, rtol=1e-4, atol=1e-4)


def with_second_adapter(model: PeftModel) -> None:
    model.add_adapter("second", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    model.base_model.set_adapter(["default", "second"])


def with_trained_base(model: PeftModel) -> None:
    for name, parameter in model.named_parameters():
        if "base_layer" in name:
            parameter.requires_grad_()


@pytest.mark.parametrize(
    ("make", "options", "change"),
    [
        pytest.param(tiny_gpt2, {}, None, id="Conv1D"),
        pytest.param(tiny_model, {"use_dora": True}, None, id="DoRA"),
        pytest.param(tiny_model, {}, with_second_adapter, id="two active adapters"),
        pytest.param(tiny_model, {}, with_trained_base, id="weights that are trained too"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*lora_bias.*")
def test_what_is_not_the_plain_case_is_computed_by_peft(make: Any, options: dict[str, Any], change: Any) -> None:
    plain = adapted(make(), **options)
    fused = copy.deepcopy(plain)
    fuse_adapters(fused)
    for model in (plain, fused):
        torch.manual_seed(8)  # GPT-2 has dropout of its own
        if change is not None:
            change(model)
        model(INPUT, labels=INPUT).loss.backward()

    found = {name: parameter.grad for name, parameter in fused.named_parameters() if parameter.grad is not None}
    assert found
    assert found.keys() == {name for name, parameter in plain.named_parameters() if parameter.grad is not None}
    for name, value in found.items():
        assert torch.equal(value, plain.get_parameter(name).grad), name


@pytest.mark.parametrize("part", ["base_layer", "lora_A.default", "lora_B.default"])
def test_a_module_with_a_hook_is_called(part: str) -> None:
    plain, fused = layer_pair()
    called = []
    fused.get_submodule(part).register_forward_pre_hook(lambda module, inputs: called.append(module))
    x = torch.randn(3, IN)

    output = fused(x)

    assert len(called) == 1
    assert torch.equal(output, plain(x))


def test_layers_of_another_class_are_left_alone() -> None:
    class Quantized(type(layer_pair()[0])):  # type: ignore[misc]
        pass

    model = adapted(Block(True), target_modules=["proj"])
    layer = model.base_model.model.proj
    layer.__class__ = Quantized

    assert fuse_adapters(model) == 0
    assert not isinstance(layer, LoraLinear)
