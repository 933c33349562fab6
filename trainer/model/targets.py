"""The modules that get an adapter: which they are, and which of those that a job names cannot have one.

`field` is the job's section of the method, for messages, such as method.lora. Test: tests/trainer/model/test_lora.py.
"""

import difflib
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetune.api.errors import InputError

ALL_LINEAR = "all-linear"
"""PEFT's name for every linear layer but the output layer."""


def check_targets(model: PreTrainedModel, field: str, targets: Sequence[str], linear: Sequence[str]) -> None:
    """Raise InputError for a name that no module has: PEFT ignores it silently if another name matches."""
    names = [name for name, _ in model.named_modules()]
    for index, target in enumerate(targets):
        if target == ALL_LINEAR:
            fix = "leave targetModules out: every linear layer but the output layer is its default"
            raise InputError(f"{field}.targetModules[{index}]", f"{ALL_LINEAR} is no module's name", fix)
        if not any(fits(name, target) for name in names):
            close = difflib.get_close_matches(target, linear, n=1)
            fix = f"did you mean {close[0]}?" if close else f"it has {', '.join(linear)}"
            raise InputError(f"{field}.targetModules[{index}]", f"no module of the model is called {target}", fix)


def fits(name: str, target: str) -> bool:
    """Return whether PEFT applies `target` to the module `name`."""
    return name == target or name.endswith(f".{target}")


def refuse_shared_weights(model: PreTrainedModel, field: str, targets: Sequence[str] | None) -> None:
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
        index = target_index(name, module, model, targets)
        if shared is None or index is None:
            continue
        at = field if targets is None else f"{field}.targetModules[{index}]"
        other = next((owner for owner in shared if owner != name), name)
        problem = f"{name} shares its weights with {other}: an adapter on one of them cannot be merged without changing the other"
        fix = "leave it out, or give a model that was saved untied (tie_word_embeddings false, the output layer with weights of its own)"
        raise InputError(at, problem, fix)


def target_index(name: str, module: nn.Module, model: PreTrainedModel, targets: Sequence[str] | None) -> int | None:
    """Return the index of the target that matches a module (0 for the default, all linear layers), None when it gets no adapter."""
    if targets is None:
        suits = isinstance(module, nn.Linear | Conv1D) and module is not model.get_output_embeddings()
        return 0 if suits else None
    return next((index for index, target in enumerate(targets) if fits(name, target)), None)


def linear_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the layers that can have an adapter: the linear ones (GPT-2's are Conv1D) except the output layer."""
    linear = (name for name, module in model.named_modules() if target_index(name, module, model, None) is not None)
    return sorted({name.rpartition(".")[2] for name in linear})
