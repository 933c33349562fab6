"""Merge an adapter into its base, and compare each layer's sum with one that is computed here.

In half precision the logits of a probe cannot distinguish a small adapter from rounding, so they do not show that it was lost.
The tensors do: each number of a merged layer is base + scaling * B A, up to half a unit in its last place. With DoRA it is that sum at
the row's learned length, and with OSF what PEFT says its weak directions add.
Test: tests/trainer/model/test_merging.py.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import Embedding, LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.osf import OSFLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.model.verification import ExportMismatchError

ADAPTER = "default"
"""PEFT's name for an adapter without a name."""
PRODUCT_ERROR = 1e-5
"""Allowed difference of two float32 products B A, as a share of their largest number; each sums up to a few hundred terms."""


def check_adapter(adapted: PeftModel, tensors: Mapping[str, Tensor], scaling: float | None) -> None:
    """Raise ExportMismatchError unless the adapter of a model that was read back is `tensors` bit for bit, and is active as trained.

    PEFT holds a head in the type of the base, so that alone is `tensors` rounded to that. `scaling` is that of LoRA; None for adapters
    without one.
    """
    read = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    differing = sorted(read.keys() ^ tensors.keys())
    differing = differing or [name for name, value in tensors.items() if not _same(name, read[name], value)]
    if differing:
        raise ExportMismatchError(
            f"the adapter is not the one that was trained: read back from disk {len(differing)} of its tensors differ, such as "
            f"{differing[0]}; it was not published"
        )
    for name, layer in _layers(adapted):
        if layer.disable_adapters or (scaling is not None and layer.scaling[ADAPTER] != scaling):
            problem = f"{name} does not act with the scaling {scaling or 1:g} that it was trained with"
            raise ExportMismatchError(f"the adapter is not the one that was trained: {problem}; it was not published")


def merge(adapted: PeftModel, keep: Callable[[Tensor], Tensor] = lambda weight: weight) -> PreTrainedModel:
    """Return the base model with the adapter added to its weights; needs the memory of one more layer in float32.

    Each merged weight is replaced by what `keep` returns for it, such as a copy elsewhere. Raises ExportMismatchError where a sum is
    not what it should be, or is not in the model.
    """
    waiting = dict(_layers(adapted))
    weights: dict[str, nn.Parameter] = {}
    for name, layer in waiting.items():
        layer.merge = _checked(name, layer, layer.merge, weights, keep)
    whole: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)  # refuses nan and infinity
    for layer in waiting.values():
        del layer.merge  # it holds the layer, and so keeps the model's memory
    inside = {id(parameter) for parameter in whole.parameters()}
    lost = [name for name in waiting if name not in weights or id(weights[name]) not in inside]
    if lost:
        raise _not_merged(f"the adapter was not added to {len(lost)} layers, such as {lost[0]}")
    return whole


def _checked(
    name: str, layer: Any, merge: Callable[..., None], weights: dict[str, nn.Parameter], keep: Callable[[Tensor], Tensor]
) -> Callable[..., None]:
    """Return a layer's `merge` that checks its own result, and enters the weight in `weights` when it is right."""

    def merge_and_check(*arguments: Any, **options: Any) -> None:
        before = _weight(layer).detach().float()
        before = before.clone() if before.data_ptr() == _weight(layer).data_ptr() else before
        added = _added(layer, before)
        merge(*arguments, **options)
        weight = _weight(layer)
        far = _far_off(weight.detach(), before, added, roundings=4 if _has_lengths(layer) else 1)
        if far:
            raise _not_merged(f"{far} numbers of {name} are not the sum of base and adapter")
        weight.data = keep(weight.detach())
        weights[name] = weight

    return merge_and_check


def _far_off(found: Tensor, before: Tensor, added: Tensor, roundings: int) -> int:
    """Return how many numbers are further from before + added than rounding `added`, and `roundings` of the sum, explain."""
    kind = torch.finfo(found.dtype)
    allowed = (0.5 * kind.eps * 1.01) * (roundings * (before + added).abs() + 2 * added.abs()) + kind.smallest_normal * kind.eps
    allowed += PRODUCT_ERROR * (added.abs().max() if roundings == 1 else (before + added).abs().max())
    return int(((found.float() - before - added).abs() > allowed).sum())


def _same(name: str, read: Tensor, trained: Tensor) -> bool:
    """Return whether numbers were read back as they were trained; of an adapter's own also in a type that holds them all."""
    if "lora_" in name:
        return torch.equal(read.double(), trained.double())
    return torch.equal(read, trained.to(read.dtype))


def _added(layer: Any, before: Tensor) -> Tensor:
    """Return what is added to the weight `before`, in its layout, float32: scaling * B A from its two factors, or what follows from it."""
    if isinstance(layer, OSFLayer):
        return _weak_part(layer, "") - _weak_part(layer, "_init")
    product = _product(layer)
    if not _has_lengths(layer):
        return product
    # m (W + s B A) / |W + s B A|, with the length of each output's weights
    embeds, turned = isinstance(layer, Embedding), getattr(layer, "fan_in_fan_out", False)
    whole = before + product
    length = layer.lora_magnitude_vector[ADAPTER].weight.detach().float() / whole.norm(dim=0 if embeds or turned else 1)
    added: Tensor = whole * (length.view(1, -1) if embeds or turned else length.view(-1, 1)) - before
    return added


def _weak_part(layer: Any, when: str) -> Tensor:
    """Return U S V of the weak directions: as trained, or those that training began with (`_init`)."""
    if when:
        parts = [getattr(layer, f"_osf_{part}{when}")[ADAPTER] for part in ("U_low", "S_low", "V_low")]
    else:
        parts = [layer.osf_svd_params[ADAPTER][part] for part in ("U_low", "S_low", "V_low")]
    left, values, right = (part.detach().float() for part in parts)
    product: Tensor = left @ torch.diag(values) @ right
    return product


def _has_lengths(layer: Any) -> bool:
    """Return whether a layer is one of DoRA."""
    return ADAPTER in getattr(layer, "lora_magnitude_vector", {})


def _product(layer: Any) -> Tensor:
    """Return scaling * B A in the layer's layout, float32, from its two factors."""
    if isinstance(layer, ParamWrapper):
        experts: Tensor = layer.get_delta_weight(ADAPTER).detach().float()
        return experts  # in one tensor, in a layout that only PEFT knows
    if isinstance(layer, Embedding):
        down, up, turned = layer.lora_embedding_A[ADAPTER], layer.lora_embedding_B[ADAPTER], True
    else:
        down, up, turned = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, layer.fan_in_fan_out
    product: Tensor = layer.scaling[ADAPTER] * (up.detach().float() @ down.detach().float())
    return product.T if turned else product


def _weight(layer: Any) -> nn.Parameter:
    """Return the base weight that a layer's adapter is added to."""
    found: nn.Parameter = layer.get_param() if isinstance(layer, ParamWrapper) else layer.get_base_layer().weight
    return found


def _layers(adapted: PeftModel) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in adapted.named_modules() if isinstance(module, LoraLayer | OSFLayer))


def _not_merged(problem: str) -> ExportMismatchError:
    return ExportMismatchError(f"the merged model is not the model that was measured: {problem}; it was not published")
