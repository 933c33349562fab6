"""The optimizer, as engines and checkpoints see it: how it is built, and which tensors it keeps per parameter.

Engines copy and restore these tensors by name, and a checkpoint has one file per name, so a new optimizer is only a new class
here. Test: tests/trainer/engine/test_optimizer.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from finetune.api.trainconfig import TrainConfig

RATE_FACTOR = "rate_factor"
"""Key of a group of parameters: what its learning rate is multiplied by."""
Depths = Callable[[nn.Module], Mapping[str, int]]
"""Returns for each parameter of a model, by name, how many layers are above it; 0 for those above all layers."""
NO_MATRICES = ("bias", "A_log")
"""Endings of the names of what has two dimensions and is no matrix: biases of each head or expert, and how fast each of Mamba's states
decays, which its authors exempt too."""


class Optimizer(ABC):
    """An optimizer's settings, except the learning rate, which is set at each step."""

    slots: ClassVar[tuple[str, ...]]
    """Names, as in torch's optimizer state, of the tensors kept for each parameter in the parameter's shape."""

    @abstractmethod
    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the torch optimizer over the trainable parameters; its learning rate is 0 until set."""

    @abstractmethod
    def counters(self, steps_done: int, device: torch.device) -> dict[str, Tensor]:
        """Return what torch stores per parameter besides its slots, after `steps_done` steps; `device` is the parameter's."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return name and settings for the report, except weight decay, which is among the job's settings."""


@dataclass(frozen=True)
class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    slots = ("exp_avg", "exp_avg_sq")

    weight_decay: float
    layer_decay: float = 1.0
    """Factor of the learning rate from a layer to the one below it."""
    depths: Depths | None = None
    """None where all parameters learn at one rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return torch's AdamW; matrices get weight decay, vectors do not.

        Fused: one pass over a parameter, its gradient and its slots, where the other implementations make a dozen.
        """
        factors = None if self.depths is None else {name: self.layer_decay**depth for name, depth in self.depths(model).items()}
        groups = parameter_groups(model, self.weight_decay, factors)
        return torch.optim.AdamW(groups, lr=0.0, betas=self.betas, eps=self.epsilon, fused=True)

    def counters(self, steps_done: int, device: torch.device) -> dict[str, Tensor]:
        """Return the step count, which the bias correction needs; the fused kernel reads it in float32 on the parameter's device."""
        return {"step": torch.tensor(float(steps_done), dtype=torch.float32, device=device)}

    def describe(self) -> dict[str, Any]:
        """Return name, betas and epsilon; the betas as a list, for JSON."""
        return {"name": "AdamW", "betas": list(self.betas), "epsilon": self.epsilon}


def optimizer_of(config: TrainConfig, depths: Depths | None = None) -> Optimizer:
    """Return the optimizer for a job's settings: for now always AdamW. `depths` are for rates that differ by layer."""
    decay = config.training.layerwise_learning_rate_decay
    return AdamW(config.regularization.weight_decay, decay, depths if decay != 1 else None)


def parameter_groups(model: nn.Module, weight_decay: float, factors: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Return parameter groups for torch: weight decay on matrices, none on biases, norms and other vectors; empty groups are left out.

    `factors` are those of the learning rate by the parameter's name; without them it is the same for all.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            owner = model.get_submodule(name.rpartition(".")[0])
            groups.setdefault((1.0 if factors is None else factors[name], decays(name, parameter, owner)), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda group: (-group[0][0], not group[0][1]))
    return [
        {"params": parameters, "weight_decay": weight_decay if decayed else 0.0, RATE_FACTOR: factor}
        for (factor, decayed), parameters in ordered
    ]


def set_learning_rate(groups: list[dict[str, Any]], learning_rate: float) -> None:
    """Give every group its part of a step's learning rate."""
    for group in groups:
        group["lr"] = learning_rate * group.get(RATE_FACTOR, 1.0)


def decays(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Return whether a parameter of `owner` gets weight decay: matrices, and not what only has their shape.

    Norms of each head have two dimensions, as in Cohere; transformers has a class of its own for almost every model's norm.
    """
    if isinstance(owner, nn.LayerNorm | nn.RMSNorm) or "Norm" in type(owner).__name__:
        return False
    # Under ZeRO-3 a parameter is an empty placeholder; its real shape is in ds_shape.
    dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
    return dimensions >= 2 and not name.endswith(NO_MATRICES)
