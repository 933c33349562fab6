"""The optimizer as engines and checkpoints see it: how it is built, and which tensors it keeps for each parameter.

Engines copy and restore these tensors by name, and a checkpoint has one file for each, so another optimizer is another class
here and nothing elsewhere. Test: tests/trainer/training/test_optimizer.py.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from finetune.api.trainconfig import TrainConfig


class Optimizer(ABC):
    """An optimizer's settings. The learning rate is not among them: it is given at each step."""

    slots: ClassVar[tuple[str, ...]]
    """Names, as in torch's optimizer state, of the tensors of a parameter's own shape that are kept for it."""

    @abstractmethod
    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return torch's optimizer over the trainable parameters, learning rate 0 until set."""

    @abstractmethod
    def counters(self, steps_done: int) -> dict[str, Tensor]:
        """Return what torch keeps for a parameter besides its slots, after `steps_done` steps."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return name and settings for the report, without the weight decay, which is the job's own."""


@dataclass(frozen=True)
class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    slots = ("exp_avg", "exp_avg_sq")

    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return torch's AdamW."""
        return torch.optim.AdamW(parameter_groups(model, self.weight_decay), lr=0.0, betas=self.betas, eps=self.epsilon, foreach=True)

    def counters(self, steps_done: int) -> dict[str, Tensor]:
        """Return the step that the bias correction depends on."""
        return {"step": torch.tensor(float(steps_done))}

    def describe(self) -> dict[str, Any]:
        """Return name, betas and epsilon."""
        return {"name": "AdamW", "betas": list(self.betas), "epsilon": self.epsilon}


def optimizer_of(config: TrainConfig) -> Optimizer:
    """Return the optimizer of a job."""
    return AdamW(config.regularization.weight_decay)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the groups of an optimizer with weight decay: matrices decay; biases, norms and other vectors do not."""
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Under ZeRO-3 a parameter is an empty shard; its real shape is in ds_shape.
            dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
            (decayed if dimensions >= 2 else exempt).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
