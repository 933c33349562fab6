"""The engine of one process gives its weights away without copying what is whole already."""

import torch
from torch import nn

from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW


def engine(dtype: torch.dtype) -> DdpEngine:
    model = nn.Linear(4, 3).to(dtype)
    return DdpEngine(model, EngineSettings(AdamW(0.0), 0.0, 1, 1), torch.device("cpu"), bfloat16=False)


def test_the_parameters_alone_are_the_state_s_and_take_no_memory_of_their_own() -> None:
    taken = engine(torch.float32)

    found = taken.parameters()

    assert {name: value.data_ptr() for name, value in found.items()} == {name: value.data_ptr() for name, value in taken.trainable()}
    assert all(torch.equal(found[name], value) for name, value in taken.state().parameters.items())
    assert not any(value.requires_grad for value in found.values())


def test_parameters_in_half_precision_are_given_in_float32() -> None:
    assert {value.dtype for value in engine(torch.bfloat16).parameters().values()} == {torch.float32}
