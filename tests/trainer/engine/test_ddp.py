"""The engine of one process gives its weights away without copying what is whole already; ranks may choose different experts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainer.engine.ranks import fork_ranks
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine, routes_to_experts
from trainer.engine.optimizer import AdamW


def test_the_parameters_alone_are_the_state_s_and_take_no_memory_of_their_own() -> None:
    taken = DdpEngine(nn.Linear(4, 3), EngineSettings(AdamW(0.0), 0.0, 1, 1), torch.device("cpu"))

    found = taken.parameters()

    assert {name: value.data_ptr() for name, value in found.items()} == {name: value.data_ptr() for name, value in taken.trainable()}
    assert all(torch.equal(found[name], value) for name, value in taken.state().parameters.items())
    assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize(
    ("name", "routed"),
    [
        ("model.layers.0.mlp.experts.3.lora_A.weight", True),
        ("model.layers.0.mlp.experts.gate_up_proj", False),
        ("model.norm.weight", False),
    ],
)
def test_experts_that_are_modules_of_their_own_may_get_no_gradient(name: str, routed: bool) -> None:
    assert routes_to_experts([name]) is routed


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    return fork_ranks(Path(__file__).with_name("ddp_program.py"), tmp_path_factory.mktemp("ddp-ranks"), (1, 2))


def test_ranks_whose_tokens_choose_different_experts_train_as_one_does(results: dict[int, dict[str, Any]]) -> None:
    alone, together = (results[world_size]["experts"] for world_size in (1, 2))
    assert together["norm"] == pytest.approx(alone["norm"], rel=1e-5)
    for name, values in alone["weights"].items():
        assert together["weights"][name] == pytest.approx(values, rel=1e-5), name


def test_a_model_of_texts_and_images_learns_texts_on_two_ranks_as_on_one_and_keeps_what_reads_images(
    results: dict[int, dict[str, Any]],
) -> None:
    alone, together = (results[world_size]["texts"] for world_size in (1, 2))
    assert together["norm"] == pytest.approx(alone["norm"], rel=1e-4)
    assert together["weights"] == pytest.approx(alone["weights"], rel=1e-4)
    assert not together["searches"]
    for found in (alone, together):
        assert found["kept"] == found["of_images"] != []
        assert not found["weights"].keys() & set(found["of_images"])
