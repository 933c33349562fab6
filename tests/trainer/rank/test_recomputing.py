"""Recomputation is decided by what a GPU has left, once for all ranks; the device is a fake, the model and its count are real."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from finetune.api.sections import Precision
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, tiny_model
from tests.trainer.fixtures.encoders import classes_family, save_encoder
from tests.trainer.fixtures.seq2seq import save_tiny_seq2seq
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.objectives.base import Forward
from trainer.objectives.seq2seq import SEQ2SEQ_LM
from trainer.rank import recomputing
from trainer.rank.loading import Loaded
from trainer.rank.recomputing import MARGIN, bytes_to_come, with_recomputation
from trainer.training.batches import AtOnce

AT_ONCE = AtOnce(rows=4, tokens=4096)


def loaded(folder: Path, device: str, *, frozen: bool = False) -> Loaded:
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    engine.device = torch.device(device)
    layer = engine.model.get_output_embeddings().requires_grad_(not frozen)
    forward = Forward(engine.forward, frozenset(), layer)
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
    found = with_recomputation(train_config(method={"full": {}}), given, AT_ONCE, 0)
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
        with_recomputation(train_config(), loaded(saved_model, "cuda"), replace(AT_ONCE, packed=packed), 0)
        sizes.append(asked["bytes"])
    assert sizes[0] < sizes[1]


def test_logits_are_counted_where_the_loss_needs_all_of_them(saved_model: Path, asked: dict[str, Any]) -> None:
    sizes = []
    for frozen in (True, False):
        given = loaded(saved_model, "cuda", frozen=frozen)
        with_recomputation(train_config(), given, AT_ONCE, 0)
        sizes.append(asked["bytes"] - bytes_to_come(given.engine))
    # In float32: logits, those that are chosen, and log-probabilities.
    assert sizes[1] - sizes[0] == pytest.approx(MARGIN * 4096 * given.engine.model.config.vocab_size * 12, abs=1)


def test_an_encoder_decoder_has_logits_of_its_targets_alone(tmp_path: Path, asked: dict[str, Any]) -> None:
    folder = save_tiny_seq2seq(tmp_path, "t5")
    sizes = []
    for longest_target in (10, 20):
        given = replace(loaded(folder, "cuda"), family=SEQ2SEQ_LM)
        given = replace(given, forward=Forward(given.engine.forward, frozenset()))
        with_recomputation(train_config(task="translation"), given, AT_ONCE, longest_target)
        sizes.append(asked["bytes"])
    vocabulary = AutoConfig.from_pretrained(folder).vocab_size
    assert sizes[1] - sizes[0] == pytest.approx(MARGIN * 4 * 10 * vocabulary * 12, abs=1)


def test_r_drop_computes_every_row_twice_at_once(tmp_path: Path, asked: dict[str, Any]) -> None:
    folder = save_encoder(tmp_path)
    sizes = []
    for alpha in (0.0, 1.0):
        given = replace(loaded(folder, "cuda"), family=classes_family())
        config = train_config(task="text-classification", method={"full": {}}, regularization={"rDropAlpha": alpha, "dropout": 0.1})
        with_recomputation(config, given, AT_ONCE, 0)
        sizes.append(asked["bytes"] - bytes_to_come(given.engine))
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=1e-6)


def test_a_cpu_never_recomputes_and_asks_nothing(saved_model: Path, asked: dict[str, Any]) -> None:
    asked["room"] = False
    found = with_recomputation(train_config(), loaded(saved_model, "cpu"), AT_ONCE, 0)
    assert not found.recomputes
    assert not recomputes(found.engine.model)
    assert "bytes" not in asked


@pytest.mark.parametrize("words", ["always", "never"])
def test_what_the_job_says_is_not_decided_again(saved_model: Path, asked: dict[str, Any], words: str) -> None:
    asked["room"] = words == "always"
    given = loaded(saved_model, "cuda")
    assert with_recomputation(train_config(training={"epochs": 1, "gradientCheckpointing": words}), given, AT_ONCE, 0) is given
    assert "bytes" not in asked
