"""What AdamW decays, seen at the weights of a step whose gradient is zero; and that an engine takes another optimizer's state as well."""

import pytest
import torch
from torch import nn

from tests.trainer.fixtures.optimizers import Momentum
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW, Optimizer

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
    engine = DdpEngine(model, EngineSettings(AdamW(WEIGHT_DECAY), 0.0, 1, 1), torch.device("cpu"), bfloat16=False)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    engine.step(LEARNING_RATE)
    expected = 2.0 * (1 - LEARNING_RATE * WEIGHT_DECAY) if decays else 2.0
    assert torch.allclose(dict(model.named_parameters())[name], torch.tensor(expected))


def engine_with(optimizer: Optimizer) -> DdpEngine:
    torch.manual_seed(1)
    return DdpEngine(Mixed(), EngineSettings(optimizer, 0.0, 1, 1), torch.device("cpu"), bfloat16=False)


def step(engine: DdpEngine, gradient: float) -> None:
    for _, parameter in engine.trainable():
        parameter.grad = torch.full_like(parameter, gradient)
    engine.step(LEARNING_RATE)


@pytest.mark.parametrize("optimizer", [AdamW(WEIGHT_DECAY), Momentum()], ids=["AdamW", "momentum"])
def test_an_engine_goes_on_from_the_slots_that_another_one_left(optimizer: Optimizer) -> None:
    unbroken, resumed = engine_with(optimizer), engine_with(optimizer)
    step(unbroken, 0.3)
    saved = unbroken.state()
    resumed.load_state(saved, steps_done=1)
    for engine in (unbroken, resumed):
        step(engine, -0.2)
    expected, found = unbroken.state(), resumed.state()
    assert set(saved.slots) == set(optimizer.slots)
    assert all(torch.equal(found.parameters[name], value) for name, value in expected.parameters.items())


def test_the_state_of_another_optimizer_is_refused() -> None:
    left = engine_with(Momentum()).state()
    with pytest.raises(KeyError, match=r"momentum_buffer.*exp_avg"):
        engine_with(AdamW(WEIGHT_DECAY)).load_state(left, steps_done=0)
