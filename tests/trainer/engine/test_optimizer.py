"""What AdamW decays, seen at the weights of a step whose gradient is zero."""

import pytest
import torch
from torch import nn

from trainer.engine.base import OptimizerSettings
from trainer.engine.ddp import DdpEngine

LEARNING_RATE, WEIGHT_DECAY = 0.1, 0.5


class Mixed(nn.Module):
    """One parameter of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear, self.norm = nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(4)


@pytest.mark.parametrize(
    ("name", "decays"),
    [("embedding.weight", True), ("linear.weight", True), ("linear.bias", False), ("norm.weight", False), ("norm.bias", False)],
)
def test_matrices_decay_and_biases_and_norms_do_not(name: str, decays: bool) -> None:
    model = Mixed()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2.0)
    engine = DdpEngine(model, OptimizerSettings(WEIGHT_DECAY, 0.0, 1, 1), torch.device("cpu"), bfloat16=False)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    engine.step(LEARNING_RATE)
    expected = 2.0 * (1 - LEARNING_RATE * WEIGHT_DECAY) if decays else 2.0
    assert torch.allclose(dict(model.named_parameters())[name], torch.tensor(expected))
