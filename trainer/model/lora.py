"""Decide which weights are trained: low-rank adapters beside frozen weights, or every weight.

Test: tests/trainer/model/test_lora.py.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from trainer.config.errors import InputError
from trainer.config.sections import LoraMethod, Method, Regularization
from trainer.model.dropout import add_block_dropout

ALL_LINEAR = "all-linear"
"""PEFT's name for every linear layer but the output layer."""


def apply_method(model: PreTrainedModel, method: Method, regularization: Regularization, seed: int) -> nn.Module:
    """Return the model with adapters (or all weights set to train) and block dropout, in train mode.

    Adapters start as the identity, with the same random numbers on every rank for the same seed. Raises InputError for
    target modules that the model does not have.
    """
    add_block_dropout(model, regularization.dropout)
    if method.lora is None:
        whole: nn.Module = model.requires_grad_(True)
        return whole.train()
    config = lora_config(method.lora)
    with torch.random.fork_rng(), old_name_tolerated():
        torch.manual_seed(seed)
        try:
            adapted: nn.Module = get_peft_model(model, config)
        except ValueError as error:
            raise _target_error(model, method.lora, error) from error
    return adapted.train()


@contextmanager
def old_name_tolerated() -> Iterator[None]:
    """Silence one warning: PEFT asks transformers for a property by the name that it had before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield


def lora_config(lora: LoraMethod) -> LoraConfig:
    """Return PEFT's configuration for a job's method.lora."""
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules or ALL_LINEAR,
    )


def _target_error(model: nn.Module, lora: LoraMethod, error: ValueError) -> InputError:
    linear = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)})
    if lora.target_modules is None:
        return InputError("method.lora", f"does not fit this model: {error}", "name its linear layers in method.lora.targetModules")
    wanted = ", ".join(lora.target_modules)
    return InputError("method.lora.targetModules", f"no module of the model is called {wanted}", f"it has {', '.join(linear)}")
