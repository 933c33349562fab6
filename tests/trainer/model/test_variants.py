"""rsLoRA and DoRA compute what their papers define, also fused, merged and read back."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from finetune.api.sections import LoraMethod, Method, Regularization
from tests.trainer.fixtures.causal import random_prompts, tiny_gpt2, tiny_model
from trainer.model.lora import apply_method, peft_warnings_silenced, scaling_of
from trainer.model.loralinear import fuse_adapters
from trainer.model.merging import check_adapter, merge
from trainer.model.verification import ExportMismatchError
from trainer.objectives.family import CAUSAL_LM

INPUT = torch.tensor(random_prompts([12, 12]))
VARIANTS = [
    pytest.param({"useRslora": True}, id="rsLoRA"),
    pytest.param({"useDora": True}, id="DoRA"),
    pytest.param({"useDora": True, "useRslora": True}, id="both"),
]
BASES = [
    pytest.param(tiny_model, None, id="linear"),
    pytest.param(tiny_gpt2, ["c_attn", "c_fc"], id="Conv1D"),
    pytest.param(lambda: tiny_model(tied=False), ["embed_tokens", "lm_head", "q_proj"], id="embedding"),
]


def adapted(
    options: dict[str, Any],
    base: Callable[[], Any] = tiny_model,
    targets: Any = None,
    dtype: torch.dtype = torch.float32,
    size: float = 0.3,
) -> Any:
    """Return a model whose adapters act already, as after training."""
    wanted = LoraMethod.model_validate({"rank": 4, "alpha": 12, "targetModules": targets, **options})
    model = apply_method(base().to(dtype), Method(lora=wanted), Regularization(), seed=6, family=CAUSAL_LM)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name or "lora_embedding_B" in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
            if "lora_magnitude" in name:
                parameter.mul_(1 + size * torch.rand(parameter.shape, generator=generator))
    return model


def defined(layer: Any, options: dict[str, Any]) -> Tensor:
    """Return the weight that a layer acts with, (out, in), by the formulas of the papers."""
    config_rank, alpha = 4, 12
    scale = alpha / (math.sqrt(config_rank) if options.get("useRslora") else config_rank)
    base = layer.get_base_layer()
    if isinstance(base, nn.Embedding):
        # Each token's vector is a row of the table; its adapter is (B A)', and DoRA takes the length of a column of the table.
        weight, product = base.weight, (layer.lora_embedding_B["default"] @ layer.lora_embedding_A["default"]).T
        whole = weight + scale * product
        if not options.get("useDora"):
            return whole
        return layer.lora_magnitude_vector["default"].weight * whole / whole.pow(2).sum(0, keepdim=True).sqrt()
    weight = base.weight if isinstance(base, nn.Linear) else base.weight.T
    whole = weight + scale * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    if not options.get("useDora"):
        return whole
    return layer.lora_magnitude_vector["default"].weight.view(-1, 1) * whole / whole.pow(2).sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize(("base", "targets"), BASES)
def test_a_variant_computes_what_a_model_with_the_weights_of_its_definition_does(
    options: dict[str, Any], base: Callable[[], Any], targets: Any
) -> None:
    model = adapted(options, base, targets).eval()
    plain = base()
    with torch.no_grad():
        for name, layer in model.get_base_model().named_modules():
            if isinstance(layer, LoraLayer):
                weight = defined(layer, options)
                place = plain.get_submodule(name).weight
                place.copy_(weight if place.shape == weight.shape else weight.T)
        expected = plain(INPUT).logits
        fused = copy.deepcopy(model)
        assert targets is not None or fuse_adapters(fused) == 14
        for found in (model(INPUT).logits, fused(INPUT).logits):
            torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("options", "dropout"), [({"useRslora": True}, 0.0), ({"useDora": True}, 0.0), ({"useDora": True}, 0.1)])
def test_fused_layers_have_the_gradients_of_peft(options: dict[str, Any], dropout: float) -> None:
    """With dropout for DoRA alone, which is left to PEFT with its mask; fused layers draw another one."""
    plain, fused = adapted({**options, "dropout": dropout}), adapted({**options, "dropout": dropout})
    fuse_adapters(fused)
    for model in (plain, fused):
        torch.manual_seed(3)
        model(INPUT, labels=INPUT).loss.backward()
    pairs = [(one.grad, other.grad) for one, other in zip(plain.parameters(), fused.parameters(), strict=True) if one.requires_grad]
    assert pairs
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e-3, 0.3])
@pytest.mark.parametrize(("base", "targets"), BASES)
def test_what_peft_merges_passes_and_is_read_back_as_trained(
    options: dict[str, Any], dtype: torch.dtype, size: float, base: Callable[[], Any], targets: Any
) -> None:
    model = adapted(options, base, targets, dtype, size).eval()
    config = model.peft_config["default"]
    assert isinstance(config, LoraConfig)
    check_adapter(model, get_peft_model_state_dict(model, save_embedding_layers=False), scaling_of(config))
    with peft_warnings_silenced():
        expected = copy.deepcopy(model).merge_and_unload(safe_merge=True).state_dict()

        whole = merge(model).state_dict()

    assert all(torch.equal(whole[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merge_of_dora_that_forgot_the_lengths_is_refused(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    model = adapted({"useDora": True}, dtype=dtype, size=0.02).eval()

    def without_lengths(self: Any, *_: Any, **__: Any) -> None:
        self.get_base_layer().weight.data += self.get_delta_weight("default").to(dtype)

    monkeypatch.setattr("peft.tuners.lora.Linear.merge", without_lengths)
    with pytest.raises(ExportMismatchError, match=r"\d+ numbers of .*q_proj are not the sum of base and adapter"):
        merge(model)


def test_an_adapter_of_another_scaling_is_refused() -> None:
    model: PeftModel = adapted({"useRslora": True}).eval()
    written = get_peft_model_state_dict(model, save_embedding_layers=False)
    check_adapter(model, written, 6.0)  # 12 / sqrt(4)
    with pytest.raises(ExportMismatchError, match="does not act with the scaling 3 "):
        check_adapter(model, written, 3.0)
