"""Orthogonal subspace fine-tuning: identical at the beginning, trained only in the weak directions, merged and read back as trained."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor, nn

from finetune.api.errors import InputError
from finetune.api.method import OsfMethod
from finetune.api.sections import Method, Regularization
from tests.trainer.fixtures.causal import random_prompts, tiny_gpt2, tiny_model
from tests.trainer.fixtures.encoders import classes_family, tiny_encoder
from trainer.model.lora import adapters_off, apply_method, peft_warnings_silenced
from trainer.model.merging import check_adapter, merge
from trainer.model.osf import osf_layers
from trainer.model.verification import ExportMismatchError
from trainer.objectives.family import CAUSAL_LM

INPUT = torch.tensor(random_prompts([12, 12]))


def decomposed(base: Any = None, dtype: torch.dtype = torch.float32, family: Any = CAUSAL_LM, **options: Any) -> Any:
    model = (tiny_model() if base is None else base).to(dtype)
    return apply_method(model, Method(osf=OsfMethod.model_validate(options)), Regularization(), seed=6, family=family)


def moved(model: Any, size: float = 0.05) -> Any:
    """Return the model as after training."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def strong(weight: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Return the left and right strong singular vectors of a weight, as columns."""
    left, _, right = torch.linalg.svd(weight.detach().double(), full_matrices=False)
    return left[:, :kept], right[:kept].T


def test_it_begins_as_the_base_model_and_is_it_again_when_switched_off() -> None:
    base = tiny_model()
    expected = base(INPUT).logits.detach()
    model = decomposed(copy.deepcopy(base))
    torch.testing.assert_close(model.eval()(INPUT).logits, expected, rtol=1e-5, atol=1e-5)

    moved(model)

    assert not torch.allclose(model(INPUT).logits, expected, atol=1e-2)
    with adapters_off(model):
        assert torch.equal(model(INPUT).logits, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rank", "kept"), [(0.5, lambda size: size // 2), (5, lambda size: 5)])
def test_gradients_are_orthogonal_to_the_strong_directions_of_each_weight(dtype: torch.dtype, rank: float, kept: Any) -> None:
    model = moved(decomposed(effectiveRank=rank, dtype=dtype)).train()
    model(INPUT, labels=INPUT).loss.backward()
    layers = list(osf_layers(model))
    assert len(layers) == 14
    for layer in layers:
        weight, parts = layer.get_base_layer().weight, layer.osf_svd_params["default"]
        left, right = strong(weight, kept(min(weight.shape)))
        for gradient, directions in ((parts["U_low"].grad, left), (parts["V_low"].grad.T, right)):
            assert gradient.norm() > 0
            along = directions.T @ gradient.double()
            assert along.norm() < (1e-4 if dtype is torch.float32 else 3e-2) * gradient.norm()


def test_a_plain_gradient_is_projected_as_its_definition_says() -> None:
    """The gradient of W x through U S V', without any hook, less its part along the strong directions."""
    model = moved(decomposed())
    model(INPUT, labels=INPUT).loss.backward()
    layer = next(osf_layers(model))
    parts, weight = layer.osf_svd_params["default"], layer.get_base_layer().weight
    found = parts["U_low"].grad.clone()
    plain = copy.deepcopy(model)
    for other in osf_layers(plain):
        other._detach_hooks()
        for parameter in other.osf_svd_params.parameters():
            parameter._backward_hooks = None
    plain.zero_grad()
    plain(INPUT, labels=INPUT).loss.backward()
    raw = next(osf_layers(plain)).osf_svd_params["default"]["U_low"].grad.double()
    left, _ = strong(weight, 16)
    expected = raw - left @ (left.T @ raw)
    assert (raw - expected).norm() > 1e-3 * raw.norm()  # the projection takes something away
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-6)


def test_gradients_summed_over_micro_batches_are_projected_too() -> None:
    one, two = moved(decomposed()), moved(decomposed())
    (one(INPUT[:1], labels=INPUT[:1]).loss + one(INPUT[1:], labels=INPUT[1:]).loss).backward()
    for row in (INPUT[:1], INPUT[1:]):
        two(row, labels=row).loss.backward()
    for first, second in zip(one.parameters(), two.parameters(), strict=True):
        if first.requires_grad:
            torch.testing.assert_close(first.grad, second.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 0.05])
def test_the_merged_weights_are_the_base_with_other_weak_directions(dtype: torch.dtype, size: float) -> None:
    model = moved(decomposed(dtype=dtype), size)
    layer = next(osf_layers(model))
    parts = layer.osf_svd_params["default"]
    left, values, right = torch.linalg.svd(layer.get_base_layer().weight.detach().double(), full_matrices=False)
    expected = left[:, :16] @ torch.diag(values[:16]) @ right[:16] + (parts["U_low"] * parts["S_low"]).double() @ parts["V_low"].double()
    check_adapter(model, get_peft_model_state_dict(model, save_embedding_layers=False), None)

    whole = merge(model)

    found = whole.model.layers[0].self_attn.q_proj.weight
    tolerance = 1e-4 if dtype is torch.float32 else 2e-2
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


def test_a_merge_that_lost_the_trained_directions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = moved(decomposed(), 1e-3)
    monkeypatch.setattr("peft.tuners.osf.Linear.merge", lambda self, *_, **__: self.merged_adapters.append("default"))
    with pytest.raises(ExportMismatchError, match=r"\d+ numbers of .*q_proj are not the sum of base and adapter"):
        merge(model)


def test_plain_peft_reads_what_was_trained(tmp_path: Path) -> None:
    model = moved(decomposed())
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with peft_warnings_silenced():
        again = PeftModel.from_pretrained(tiny_model(), tmp_path).eval()
    torch.testing.assert_close(again(INPUT).logits, model(INPUT).logits, rtol=1e-4, atol=1e-4)


def test_the_head_of_an_encoder_is_trained_whole_and_saved_beside(tmp_path: Path) -> None:
    family = classes_family()
    model = decomposed(tiny_encoder("AutoModelForSequenceClassification", num_labels=3), family=family)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("classifier.modules_to_save" in name for name in trained)
    assert all("osf_svd_params" in name or "modules_to_save" in name for name in trained)
    moved(model)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with peft_warnings_silenced():
        again = PeftModel.from_pretrained(tiny_encoder("AutoModelForSequenceClassification", num_labels=3), tmp_path).eval()
    ids = INPUT % 40
    torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("base", "options", "field", "words"),
    [
        pytest.param(tiny_gpt2, {}, "method.osf", "no linear layers of the kind that can be decomposed", id="Conv1D"),
        pytest.param(tiny_model, {"effectiveRank": 16}, "method.osf.effectiveRank", "of the 16 .*k_proj 16 would be", id="all"),
        pytest.param(tiny_model, {"effectiveRank": 0.01}, "method.osf.effectiveRank", "of the 32 .*q_proj 0 would", id="none"),
        pytest.param(tiny_model, {"targetModules": ["q_proj", "v_pro"]}, "method.osf.targetModules[1]", "mean v_proj", id="no name"),
        pytest.param(tiny_model, {"targetModules": ["embed_tokens"]}, "method.osf.targetModules[0]", "shares its weights", id="table"),
        pytest.param(lambda: tiny_model(tied=False), {"targetModules": ["embed_tokens"]}, "method.osf.targetModules[0]",
                     "cannot be decomposed", id="untied table"),
    ],
)  # fmt: skip
def test_what_cannot_be_decomposed_is_refused(base: Any, options: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        decomposed(base(), **options)
    assert refused.value.field == field


def test_it_can_be_rehearsed_without_weights() -> None:
    with torch.device("meta"):
        base = type(tiny_model())(tiny_model().config)
    model = decomposed(base)
    assert isinstance(model, nn.Module)
    assert sum(1 for _ in osf_layers(model)) == 14
