"""Weights that method.full leaves as they are. They need no gradient and no optimizer state, and checkpoints do without them.

Test: tests/trainer/model/test_freezing.py.
"""

from collections.abc import Iterable
from typing import Any

from finetune.api.errors import InputError
from finetune.api.method import Freeze
from finetune.api.sections import Method, Training
from trainer.model.head import own_modules
from trainer.model.layers import embedding_names, layers_of
from trainer.objectives.family import Family

FIELD = "method.full.freeze"


def freeze(model: Any, wanted: Freeze, family: Family) -> None:
    """Set the weights that a job freezes to be no longer trained; the model may be on the meta device.

    Raises InputError for layers that the model does not have, a body that is all of it, and where nothing would be trained.
    """
    frozen = frozen_names(model, wanted, family)
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(FIELD, f"nothing of {type(model).__name__} would be trained", "freeze less")


def frozen_names(model: Any, wanted: Freeze, family: Family) -> set[str]:
    """Return the names of the parameters that a job freezes."""
    names = [name for name, _ in model.named_parameters()]
    frozen = set(embedding_names(model)) if wanted.embeddings else set()
    if wanted.layers is not None:
        layers = layers_of(model)
        if wanted.layers > len(layers):
            problem = f"{wanted.layers} is more than the {len(layers)} layers of {type(model).__name__}"
            raise InputError(f"{FIELD}.layers", problem, f"give at most {len(layers)}" if layers else "leave it out for this model")
        frozen |= _inside(names, (prefix for prefix, _ in layers[: wanted.layers]))
    if wanted.body:
        head = own_modules(model) if family.new_head else []
        if not head:
            problem = f"{type(model).__name__} has no layers of the task's own on top of its body"
            raise InputError(f"{FIELD}.body", problem, "set it to false, and freeze embeddings or layers")
        frozen |= set(names) - _inside(names, head)
    return frozen


def tied_findings(model: Any, method: Method, training: Training) -> tuple[str, ...]:
    """Return what the report has to say where the output layer is the embeddings too, and so is frozen, or learns at another rate."""
    if method.full is None:
        return ()
    weight = getattr(model.get_output_embeddings(), "weight", None)
    if weight is None or not any(parameter is weight for parameter in model.get_input_embeddings().parameters()):
        return ()
    tied, wanted = "the output layer of this model has the weights of its embeddings (they are tied)", method.full.freeze
    if not weight.requires_grad:
        if wanted is None or not (wanted.embeddings or wanted.body):
            return ()
        return (f"{FIELD}.{'embeddings' if wanted.embeddings else 'body'}: {tied}, so it is frozen too",)
    if training.layerwise_learning_rate_decay == 1:
        return ()
    return (f"training.layerwiseLearningRateDecay: {tied}, so it learns at their rate, the lowest",)


def _inside(names: Iterable[str], modules: Iterable[str]) -> set[str]:
    prefixes = tuple(f"{module}." for module in modules)
    return {name for name in names if prefixes and name.startswith(prefixes)}
