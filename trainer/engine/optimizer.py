"""The optimizer, as engines and checkpoints see it: how it is built, and which tensors it keeps per parameter.

Engines copy and restore these tensors by name, and a checkpoint has one file per name, so a new optimizer is only a new class
here. Test: tests/trainer/engine/test_optimizer.py.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from finetune.api.trainconfig import TrainConfig


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
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return torch's AdamW; matrices get weight decay, vectors do not.

        Fused: one pass over a parameter, its gradient and its slots, where the other implementations make a dozen.
        """
        return torch.optim.AdamW(parameter_groups(model, self.weight_decay), lr=0.0, betas=self.betas, eps=self.epsilon, fused=True)

    def counters(self, steps_done: int, device: torch.device) -> dict[str, Tensor]:
        """Return the step count, which the bias correction needs; the fused kernel reads it in float32 on the parameter's device."""
        return {"step": torch.tensor(float(steps_done), dtype=torch.float32, device=device)}

    def describe(self) -> dict[str, Any]:
        """Return name, betas and epsilon; the betas as a list, for JSON."""
        return {"name": "AdamW", "betas": list(self.betas), "epsilon": self.epsilon}


def optimizer_of(config: TrainConfig) -> Optimizer:
    """Return the optimizer for a job's settings: for now always AdamW."""
    return AdamW(config.regularization.weight_decay)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups for torch: weight decay on matrices, none on biases, norms and other vectors; empty groups are left out."""
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Under ZeRO-3 a parameter is an empty placeholder; its real shape is in ds_shape.
            dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
            (decayed if dimensions >= 2 else exempt).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
