"""Orthogonal subspace fine-tuning: each weight matrix is decomposed, and its weak singular directions are trained beside it.

W = U S V'. The strong directions stay, the weak ones are copied and trained, and a layer computes W x + (U S V' - U0 S0 V0') x with the
weak parts now and at the beginning: PEFT's own method, so that W itself never changes, and the base model is there when they are
switched off. Gradients of U and V are projected to be orthogonal to the strong directions, by hooks on the parameters: they act in each
backward pass, before engines accumulate or average, and as a projection is linear, sums and means of projected gradients are projected.
Test: tests/trainer/model/test_osf.py.
"""

from collections.abc import Iterator
from typing import Any

from peft import OSFConfig, TaskType, get_peft_model
from peft.tuners.osf import OSFLayer
from torch import nn
from transformers import PreTrainedModel

from finetune.api.errors import InputError
from finetune.api.method import OsfMethod
from trainer.model.head import own_modules
from trainer.model.targets import check_targets, fits, refuse_shared_weights
from trainer.model.unused import unused_modules
from trainer.objectives.family import Family

FIELD = "method.osf"
ADAPTER = "default"
"""PEFT's name for an adapter without a name."""


def with_weak_directions(model: PreTrainedModel, osf: OsfMethod, family: Family) -> nn.Module:
    """Return the model with weak directions to train; it computes what it did before. The model may be on the meta device.

    Raises InputError for modules that are no linear layers, and for layers that would keep no direction or train none.
    """
    unused = unused_modules(model, family)
    head = [name for name in own_modules(model) if name not in unused] if family.new_head else []
    layers = _targets(model, osf, (*unused, *head))
    for name, layer in layers.items():
        _check_rank(name, layer, osf.effective_rank)
    rank = osf.effective_rank if osf.effective_rank < 1 else int(osf.effective_rank)  # PEFT's word for a number is its type
    config = OSFConfig(
        task_type=TaskType(family.peft_task), effective_rank=rank, target_modules=list(layers), modules_to_save=list(head) or None
    )
    adapted: nn.Module = get_peft_model(model, config)
    for found in osf_layers(adapted):
        # PEFT casts the directions of a model in 16 bits to float32, as parameters without the hooks.
        found._detach_hooks()
        found._attach_hooks(ADAPTER)
    return adapted


def osf_layers(model: nn.Module) -> Iterator[Any]:
    """Yield the layers whose weak directions are trained."""
    return (module for module in model.modules() if isinstance(module, OSFLayer))


def _targets(model: PreTrainedModel, osf: OsfMethod, without: tuple[str, ...]) -> dict[str, nn.Linear]:
    """Return the layers that are decomposed, by name."""
    output, inside = model.get_output_embeddings(), tuple(f"{name}." for name in without)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not output}
    linear = {name: module for name, module in linear.items() if name not in without and not (inside and name.startswith(inside))}
    if not linear:
        problem = f"{type(model).__name__} has no linear layers of the kind that can be decomposed"
        raise InputError(FIELD, problem, "use method.lora or method.full for this model")
    check_targets(model, FIELD, osf.target_modules or [], sorted({name.rpartition(".")[2] for name in linear}))
    refuse_shared_weights(model, FIELD, osf.target_modules)
    if osf.target_modules is None:
        return linear
    for index, target in enumerate(osf.target_modules):
        wrong = [name for name, _ in model.named_modules() if fits(name, target) and name not in linear]
        if wrong:
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise InputError(f"{FIELD}.targetModules[{index}]", f"{wrong[0]} cannot be decomposed", f"it has {known}")
    return {name: module for name, module in linear.items() if any(fits(name, target) for target in osf.target_modules)}


def _check_rank(name: str, layer: nn.Linear, effective_rank: float) -> None:
    smaller = min(layer.in_features, layer.out_features)
    kept = int(effective_rank * smaller) if effective_rank < 1 else int(effective_rank)
    if not 0 < kept < smaller:
        problem = f"of the {smaller} directions of {name} {min(kept, smaller)} would be kept"
        raise InputError(f"{FIELD}.effectiveRank", problem, "choose it so that each layer keeps some and trains some")
