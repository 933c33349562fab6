"""The engine of one process gives its weights away without copying what is whole already; ranks may choose different experts."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trainer.engine.ranks import fork_ranks
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine, routes_to_experts
from trainer.engine.optimizer import AdamW


def engine(dtype: torch.dtype) -> DdpEngine:
    model = nn.Linear(4, 3).to(dtype)
    return DdpEngine(model, EngineSettings(AdamW(0.0), 0.0, 1, 1), torch.device("cpu"))


def test_the_parameters_alone_are_the_state_s_and_take_no_memory_of_their_own() -> None:
    taken = engine(torch.float32)

    found = taken.parameters()

    assert {name: value.data_ptr() for name, value in found.items()} == {name: value.data_ptr() for name, value in taken.trainable()}
    assert all(torch.equal(found[name], value) for name, value in taken.state().parameters.items())
    assert not any(value.requires_grad for value in found.values())


def test_parameters_in_half_precision_are_given_in_float32() -> None:
    assert {value.dtype for value in engine(torch.bfloat16).parameters().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("model.layers.0.mlp.experts.3.lora_A.weight", True),
        ("model.layers.0.mlp.experts.gate_up_proj", False),
        ("model.norm.weight", False),
    ],
)
def test_experts_that_are_modules_of_their_own_may_get_no_gradient(name: str, may: bool) -> None:
    assert routes_to_experts([name]) is may


def test_ranks_whose_tokens_choose_different_experts_train_as_one_does(tmp_path: Path) -> None:
    results = fork_ranks(Path(__file__).with_name("experts_program.py"), tmp_path, (1, 2))
    alone, together = results[1], results[2]
    assert together["norm"] == pytest.approx(alone["norm"], rel=1e-5)
    for name, values in alone["weights"].items():
        assert together["weights"][name] == pytest.approx(values, rel=1e-5), name
