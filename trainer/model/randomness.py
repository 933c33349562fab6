"""Whether two forward passes over the same row differ in training, which R-Drop compares: something has to be drawn at random.

Test: tests/trainer/model/test_randomness.py.
"""

from typing import Any

from torch import nn

from finetune.api.errors import InputError
from finetune.api.sections import Regularization
from finetune.api.tasks import ModelFamily
from trainer.objectives.family import Family

FIELD = "regularization.rDropAlpha"


def refuse_same_passes(model: nn.Module, regularization: Regularization, family: Family) -> None:
    """Raise InputError where R-Drop is asked of a model whose predictions it does not compare, or whose two passes are the same."""
    if regularization.r_drop_alpha == 0:
        return
    if family.kind is not ModelFamily.ENCODER:
        problem = f"R-Drop needs an encoder; {type(_base(model)).__name__} generates text"
        raise InputError(FIELD, problem, "set it to 0, or give an encoder")
    if not (regularization.dropout or regularization.neftune_noise_alpha or _drops(model)):
        problem = "has no effect: nothing of this model is drawn at random, because every dropout is 0"
        raise InputError(FIELD, problem, "set regularization.dropout, such as to 0.1, or regularization.neftuneNoiseAlpha")


def _drops(model: nn.Module) -> bool:
    """Return whether the model has dropout of its own, or its adapters have: a module, or a probability that a module such as attention
    hands on.
    """
    return any(_probability(module) > 0 for module in model.modules())


def _probability(module: nn.Module) -> float:
    if isinstance(module, nn.Dropout):
        return module.p
    return max((value for name, value in vars(module).items() if "drop" in name and isinstance(value, float)), default=0.0)


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
