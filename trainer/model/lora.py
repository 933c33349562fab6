"""Decide which weights are trained: low-rank adapters beside frozen weights, weak directions of weights, or the weights themselves.

Tests: tests/trainer/model/test_lora.py, tests/trainer/model/test_variants.py.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from finetune.api.errors import InputError
from finetune.api.sections import LoraMethod, Method, Regularization
from trainer.model.dropout import add_block_dropout
from trainer.model.freezing import freeze
from trainer.model.head import own_modules
from trainer.model.noise import add_embedding_noise
from trainer.model.osf import with_weak_directions
from trainer.model.randomness import refuse_same_passes
from trainer.model.targets import ALL_LINEAR, check_targets, linear_names, refuse_shared_weights, target_index
from trainer.model.unused import never_trained, unused_modules
from trainer.objectives.family import Family

FIELD = "method.lora"


def apply_method(model: PreTrainedModel, method: Method, regularization: Regularization, seed: int, family: Family) -> nn.Module:
    """Return the model with adapters (or all weights set to train) with block dropout and noise, in train mode.

    Adapters start as the identity, with the same random numbers on every rank for the same seed. Raises InputError for
    target modules and layers to freeze that the model does not have, and for regularization that would have no effect. The model may be
    on the meta device.
    """
    whole: nn.Module = model
    if method.lora is not None:
        whole = _with_adapters(model, method.lora, seed, family)
    elif method.osf is not None:
        with peft_warnings_silenced():
            whole = with_weak_directions(model, method.osf, family)
    else:
        model.requires_grad_(True)
        left = never_trained(model, family)
        for name, parameter in model.named_parameters():
            if name in left:
                parameter.requires_grad_(False)
        if method.full is not None and method.full.freeze is not None:
            freeze(model, method.full.freeze, family)
    if method.adapts:
        _hold_masters(whole)
    # After the adapters, so that dropout applies to what they add to a block's output too.
    add_block_dropout(model, regularization.dropout)
    add_embedding_noise(whole, regularization.neftune_noise_alpha)
    refuse_same_passes(whole, regularization, family)
    return whole.train()


def _with_adapters(model: PreTrainedModel, lora: LoraMethod, seed: int, family: Family) -> nn.Module:
    linear = linear_names(model)  # now, because PEFT leaves the model half changed when it refuses
    check_targets(model, FIELD, lora.target_modules or [], linear)
    refuse_shared_weights(model, FIELD, lora.target_modules)
    unused = unused_modules(model, family)
    head = [name for name in own_modules(model) if name not in unused] if family.new_head else []
    with torch.random.fork_rng(), peft_warnings_silenced():
        torch.manual_seed(seed)
        try:
            adapted: nn.Module = get_peft_model(model, lora_config(lora, family, head, _targets_in(unused, model, lora.target_modules)))
        except ValueError as error:
            said = " ".join(str(error).split())[:300]  # it may print a whole module on many lines
            if lora.target_modules is None:
                fix = "name its linear layers in method.lora.targetModules"
                raise InputError("method.lora", f"does not fit this model: {said}", fix) from error
            raise InputError("method.lora.targetModules", f"cannot have adapters: {said}", f"it has {', '.join(linear)}") from error
    return adapted


def _hold_masters(model: nn.Module) -> None:
    """Hold what is trained beside a frozen base in float32: PEFT casts adapters, but leaves its copy of a new head in the base's type.

    Where ranks share the base (ZeRO stage 3), DeepSpeed has float32 masters, computes without autocast in the types that it is given, and
    takes one type only of what is trained: there adapters get the type of the head.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shared = any(hasattr(parameter, "ds_id") for parameter in model.parameters())
    held = min((parameter.dtype for parameter in trained), key=lambda dtype: dtype.itemsize) if shared else torch.float32
    for parameter in trained:
        parameter.data = parameter.data.to(held)  # the parameter itself stays, with its hooks and ties


@contextmanager
def peft_warnings_silenced() -> Iterator[None]:
    """Silence warnings that nobody can act on: PEFT uses a deprecated property of transformers, and corrects itself for Conv1D."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False but the target module is `Conv1D`")
        yield


def lora_config(lora: LoraMethod, family: Family, head: Sequence[str] = (), without: Sequence[str] = ()) -> LoraConfig:
    """Return PEFT's configuration for a job's method.lora.

    The modules of `head` are fully trained and saved with the adapter; those of `without` get no adapter.
    """
    return LoraConfig(
        task_type=TaskType(family.peft_task),
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        target_modules=lora.target_modules or ALL_LINEAR,
        modules_to_save=list(head) or None,
        exclude_modules=list(without) or None,
    )


def scaling_of(config: LoraConfig) -> float:
    """Return the factor of an adapter's output."""
    return float(config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r))


def adapters_off(model: Any) -> AbstractContextManager[None]:
    """Return a context in which an adapted model computes what its base model does, bit for bit, however far it was trained.

    Adapters start as the identity, so these are also the logits from before the first step. Every rank must enter and leave it.
    """
    context: AbstractContextManager[None] = model.disable_adapter()
    return context


def refuse_sharded_embeddings(model: PreTrainedModel, targets: Sequence[str] | None) -> None:
    """Raise InputError for a target that is an embedding: under ZeRO stage 3 its adapter is a shard where peft needs it whole."""
    for name, module in model.named_modules():
        index = target_index(name, module, model, targets)
        if isinstance(module, nn.Embedding) and index is not None:
            problem = f"{name} is an embedding, whose adapter cannot be computed where DeepSpeed shards parameters (ZeRO stage 3)"
            raise InputError(f"method.lora.targetModules[{index}]", problem, "leave it out, or set distributed.deepspeed.zeroStage to 2")


def _targets_in(unused: Sequence[str], model: PreTrainedModel, targets: Sequence[str] | None) -> list[str]:
    """Return the modules inside of `unused` that would get an adapter; PEFT warns where it is to leave out another one."""
    inside = tuple(f"{name}." for name in unused)
    names = ((name, module) for name, module in model.named_modules() if name in unused or (inside and name.startswith(inside)))
    return [name for name, module in names if target_index(name, module, model, targets) is not None]
