"""Decide which weights are trained: low-rank adapters beside frozen weights, or every weight.

Test: tests/trainer/model/test_lora.py.
"""

import difflib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetune.api.errors import InputError
from finetune.api.sections import LoraMethod, Method, Regularization
from trainer.model.dropout import add_block_dropout
from trainer.model.head import own_modules
from trainer.model.noise import add_embedding_noise
from trainer.model.randomness import refuse_same_passes
from trainer.model.unused import never_trained, unused_modules
from trainer.objectives.family import Family

ALL_LINEAR = "all-linear"
"""PEFT's name for every linear layer but the output layer."""


def apply_method(model: PreTrainedModel, method: Method, regularization: Regularization, seed: int, family: Family) -> nn.Module:
    """Return the model with adapters (or all weights set to train) with block dropout and noise, in train mode.

    Adapters start as the identity, with the same random numbers on every rank for the same seed. Raises InputError for
    target modules that the model does not have, and for regularization that would have no effect. The model may be on the meta device.
    """
    if method.lora is None:
        whole: nn.Module = model.requires_grad_(True)
        left = never_trained(model, family)
        for name, parameter in model.named_parameters():
            if name in left:
                parameter.requires_grad_(False)
    else:
        whole = _with_adapters(model, method.lora, seed, family)
    # After the adapters, so that dropout applies to what they add to a block's output too.
    add_block_dropout(model, regularization.dropout)
    add_embedding_noise(whole, regularization.neftune_noise_alpha)
    refuse_same_passes(whole, regularization, family)
    return whole.train()


def _with_adapters(model: PreTrainedModel, lora: LoraMethod, seed: int, family: Family) -> nn.Module:
    linear = _linear(model)  # now, because PEFT leaves the model half changed when it refuses
    _check_targets(model, lora.target_modules or [], linear)
    _refuse_shared_weights(model, lora.target_modules)
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
        target_modules=lora.target_modules or ALL_LINEAR,
        modules_to_save=list(head) or None,
        exclude_modules=list(without) or None,
    )


def adapters_off(model: Any) -> AbstractContextManager[None]:
    """Return a context in which an adapted model computes what its base model does, bit for bit, however far it was trained.

    Adapters start as the identity, so these are also the logits from before the first step. Every rank must enter and leave it.
    """
    context: AbstractContextManager[None] = model.disable_adapter()
    return context


def _check_targets(model: PreTrainedModel, targets: Sequence[str], linear: Sequence[str]) -> None:
    """Raise InputError for a name that no module has: PEFT ignores it silently if another name matches."""
    names = [name for name, _ in model.named_modules()]
    for index, target in enumerate(targets):
        if target == ALL_LINEAR:
            fix = "leave targetModules out: every linear layer but the output layer is its default"
            raise InputError(f"method.lora.targetModules[{index}]", f"{ALL_LINEAR} is no module's name", fix)
        if not any(_fits(name, target) for name in names):
            close = difflib.get_close_matches(target, linear, n=1)
            fix = f"did you mean {close[0]}?" if close else f"it has {', '.join(linear)}"
            raise InputError(f"method.lora.targetModules[{index}]", f"no module of the model is called {target}", fix)


def _fits(name: str, target: str) -> bool:
    """Return whether PEFT applies `target` to the module `name`."""
    return name == target or name.endswith(f".{target}")


def _refuse_shared_weights(model: PreTrainedModel, targets: Sequence[str] | None) -> None:
    """Raise InputError for a target whose weights another module uses too, as the output layer of a tied model does.

    An adapter changes what its own module computes and leaves the shared weights alone; merging adds it to those weights, which
    changes the other module as well. Adapter and merged model would be two different models, also when the user merges.
    """
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    for name, module in model.named_modules():
        shared = next((owners[id(parameter)] for parameter in module.parameters(recurse=False) if len(owners[id(parameter)]) > 1), None)
        index = _target_index(name, module, model, targets)
        if shared is None or index is None:
            continue
        field = "method.lora" if targets is None else f"method.lora.targetModules[{index}]"
        other = next((owner for owner in shared if owner != name), name)
        problem = f"{name} shares its weights with {other}: an adapter on one of them cannot be merged without changing the other"
        fix = "leave it out, or give a model that was saved untied (tie_word_embeddings false, the output layer with weights of its own)"
        raise InputError(field, problem, fix)


def refuse_sharded_embeddings(model: PreTrainedModel, targets: Sequence[str] | None) -> None:
    """Raise InputError for a target that is an embedding: under ZeRO stage 3 its adapter is a shard where peft needs it whole."""
    for name, module in model.named_modules():
        index = _target_index(name, module, model, targets)
        if isinstance(module, nn.Embedding) and index is not None:
            problem = f"{name} is an embedding, whose adapter cannot be computed where DeepSpeed shards parameters (ZeRO stage 3)"
            raise InputError(f"method.lora.targetModules[{index}]", problem, "leave it out, or set distributed.deepspeed.zeroStage to 2")


def _target_index(name: str, module: nn.Module, model: PreTrainedModel, targets: Sequence[str] | None) -> int | None:
    """Return the index of the target that matches a module (0 for the default, all linear layers), None when it gets no adapter."""
    if targets is None:
        suits = isinstance(module, nn.Linear | Conv1D) and module is not model.get_output_embeddings()
        return 0 if suits else None
    return next((index for index, target in enumerate(targets) if _fits(name, target)), None)


def _targets_in(unused: Sequence[str], model: PreTrainedModel, targets: Sequence[str] | None) -> list[str]:
    """Return the modules inside of `unused` that would get an adapter; PEFT warns where it is to leave out another one."""
    inside = tuple(f"{name}." for name in unused)
    names = ((name, module) for name, module in model.named_modules() if name in unused or (inside and name.startswith(inside)))
    return [name for name, module in names if _target_index(name, module, model, targets) is not None]


def _linear(model: PreTrainedModel) -> list[str]:
    """Return the names of the layers that can have an adapter: the linear ones (GPT-2's are Conv1D) except the output layer."""
    linear = (name for name, module in model.named_modules() if _target_index(name, module, model, None) is not None)
    return sorted({name.rpartition(".")[2] for name in linear})
