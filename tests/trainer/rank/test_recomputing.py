"""Recomputation is decided by what a GPU has left, once for all ranks; the device is a fake, the model and its count are real."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.api.sections import Precision
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, tiny_model
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.objectives.base import Forward
from trainer.rank import recomputing
from trainer.rank.loading import Loaded
from trainer.rank.recomputing import bytes_to_come, with_recomputation
from trainer.training.batches import AtOnce

AT_ONCE = AtOnce(rows=4, tokens=4096)


def loaded(folder: Path, device: str) -> Loaded:
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    engine.device = torch.device(device)
    forward = Forward(engine.forward, frozenset())
    return Loaded(engine, forward, located_folder(folder), None, Precision.FLOAT32, None, padded_because="a test")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was asked of the device, which has `room`."""
    found: dict[str, Any] = {"room": True}

    def has_room(size: int, memory: torch.device, gather: Any, *, trains_on: torch.device) -> bool:
        found.update(bytes=size, device=memory)
        return bool(found["room"])

    monkeypatch.setattr(recomputing, "has_room", has_room)
    return found


def recomputes(model: Any) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


@pytest.mark.parametrize("room", [True, False])
def test_a_gpu_without_room_for_the_activations_recomputes_them(saved_model: Path, asked: dict[str, Any], room: bool) -> None:
    asked["room"] = room
    given = loaded(saved_model, "cuda")
    found = with_recomputation(train_config(method={"full": {}}), given, AT_ONCE)
    assert found.recomputes is not room
    assert recomputes(found.engine.model) is not room
    # Per token and layer a Llama keeps more than a dozen vectors of its width in float32; weights, slots and gradients are known.
    state = 3 * 4 * sum(parameter.numel() for parameter in given.engine.model.parameters())
    assert bytes_to_come(given.engine) == state
    assert asked["bytes"] - state > 4096 * 2 * 12 * 32 * 4
    assert asked["device"] == torch.device("cuda")


def test_more_tokens_at_once_need_more(saved_model: Path, asked: dict[str, Any]) -> None:
    sizes = []
    for packed in (512, 1024):
        with_recomputation(train_config(), loaded(saved_model, "cuda"), replace(AT_ONCE, packed=packed))
        sizes.append(asked["bytes"])
    assert sizes[0] < sizes[1]


def test_a_cpu_never_recomputes_and_asks_nothing(saved_model: Path, asked: dict[str, Any]) -> None:
    asked["room"] = False
    found = with_recomputation(train_config(), loaded(saved_model, "cpu"), AT_ONCE)
    assert not found.recomputes
    assert not recomputes(found.engine.model)
    assert "bytes" not in asked


@pytest.mark.parametrize("words", ["always", "never"])
def test_what_the_job_says_is_not_decided_again(saved_model: Path, asked: dict[str, Any], words: str) -> None:
    asked["room"] = words == "always"
    given = loaded(saved_model, "cuda")
    assert with_recomputation(train_config(training={"epochs": 1, "gradientCheckpointing": words}), given, AT_ONCE) is given
    assert "bytes" not in asked
