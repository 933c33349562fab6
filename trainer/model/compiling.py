"""The layers of a model compiled by torch, one by one: all have the same code, so that it is compiled once for all of them.

Modules stay what they are, and so do names, checkpoints, adapters and exports; only a layer's call in training is compiled.
Test: tests/trainer/model/test_compiling.py.
"""

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from finetune.api.errors import InputError

COMPILERS = {"cuda": ("cc", "gcc", "clang"), "cpu": ("g++", "clang++")}
"""One of these is needed: Triton compiles its launchers in C, and on a CPU the code itself is C++."""


def compile_layers(model: Any, device: torch.device) -> int:
    """Have every layer of a transformers model, which may have adapters, compiled at its first call; return the number of layers.

    For any length and number of rows. Raises InputError where there is no compiler on this worker, or no layer that torch could compile.
    """
    refuse_without_compiler(device)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = [module for module in base.modules() if type(module).__name__ in set(base._no_split_modules or ())]
    if not layers:
        raise InputError("training.compile", f"{type(base).__name__} does not say what its layers are", "set it to false")
    for layer in layers:
        layer._compiled_call_impl = _compiled_in_training(layer)
    return len(layers)


def _compiled_in_training(layer: nn.Module) -> Callable[..., Any]:
    """Return the call of a layer that `nn.Module.compile` would install, for training alone.

    Generation has one token more at each call, and would use up the number of times that torch compiles a function.
    """
    compiled: Callable[..., Any] = torch.compile(layer._call_impl, dynamic=True)

    def call(*inputs: Any, **named: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else layer._call_impl)(*inputs, **named)

    return call


def refuse_without_compiler(device: torch.device) -> None:
    """Raise InputError where torch would find no compiler at the first step."""
    known = COMPILERS[device.type]
    if not any(shutil.which(name) for name in known):
        raise InputError(
            "training.compile", f"this worker has no compiler ({', '.join(known)})", "use an image with one, or set it to false"
        )
    if device.type == "cuda" and not torch.utils._triton.has_triton():
        raise InputError("training.compile", "this worker has no Triton for its GPU", "set it to false")
