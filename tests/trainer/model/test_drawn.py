"""Random weights in place of pre-trained ones: drawn from the seed, without a weight file, alike in every type."""

from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.api.sources import Initialization, ModelSource
from tests.trainer.fixtures.causal import save_tiny_model
from tests.trainer.fixtures.encoders import classes_family, save_encoder
from trainer.model.load import load_model, load_with_names, provenance_of
from trainer.model.location import LocatedModel, locate
from trainer.model.weights import weights_digest
from trainer.objectives.family import CAUSAL_LM

CLASSES = classes_family()


def located(folder: Path) -> LocatedModel:
    return locate(ModelSource(path=str(folder), initialization=Initialization.RANDOM))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A model whose weights are gone."""
    folder = save_tiny_model(tmp_path / "bare")
    (folder / "model.safetensors").unlink()
    return folder


def test_no_weight_file_is_needed_and_the_same_seed_draws_the_same_weights(bare: Path) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (load_model(located(bare), torch.float32, CAUSAL_LM, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_they_are_drawn_by_the_initializer_of_the_architecture(bare: Path) -> None:
    model: Any = load_model(located(bare), torch.float32, CAUSAL_LM, seed=1)
    spread = model.config.initializer_range
    assert float(model.model.layers[0].mlp.up_proj.weight.detach().std()) == pytest.approx(spread, rel=0.1)
    assert torch.equal(model.model.norm.weight, torch.ones_like(model.model.norm.weight))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_another_type_holds_the_same_numbers_rounded(bare: Path) -> None:
    exact, half = (load_model(located(bare), dtype, CAUSAL_LM, seed=1).state_dict() for dtype in (torch.float32, torch.bfloat16))
    assert all(torch.equal(exact[name].bfloat16(), half[name]) for name in exact)


def test_the_pretrained_weights_are_others_and_untouched(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "base", "AutoModelForMaskedLM")
    drawn, names = load_with_names(located(folder), torch.float32, CLASSES, seed=4)
    kept = load_model(locate(ModelSource(path=str(folder))), torch.float32, CLASSES, seed=4)
    assert set(names.new) == {name for name, _ in drawn.named_parameters()}
    assert not torch.equal(drawn.get_input_embeddings().weight, kept.get_input_embeddings().weight)


def test_the_record_says_that_they_are_random(bare: Path, tmp_path: Path) -> None:
    found = provenance_of(located(bare), torch.float32, drawn=17)
    assert found.source.startswith("random numbers from training.seed (configuration and tokenizer: folder ")
    assert found.digest.startswith("random:")
    assert found.parameters == 17
    wider = save_tiny_model(tmp_path / "wider", width=48)
    assert weights_digest(located(wider)) != found.digest
    assert weights_digest(located(bare)) == found.digest


def test_new_and_unused_weights_are_named(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "base", "AutoModelForMaskedLM")
    _, names = load_with_names(locate(ModelSource(path=str(folder))), torch.float32, CLASSES)
    assert set(names.new) >= {"classifier.weight", "classifier.bias"}
    assert all(name.startswith(("classifier.", "bert.pooler.")) for name in names.new)
    assert any(name.startswith("cls.predictions") for name in names.unused)

    of_other_classes = save_encoder(
        tmp_path / "other", "AutoModelForSequenceClassification", num_labels=len(CLASSES.settings["id2label"]) + 2
    )
    _, names = load_with_names(locate(ModelSource(path=str(of_other_classes))), torch.float32, CLASSES)
    assert set(names.new) == {"classifier.weight", "classifier.bias"}
    assert names.unused == ()

    again = save_tiny_model(tmp_path / "causal")
    _, names = load_with_names(locate(ModelSource(path=str(again))), torch.float32, CAUSAL_LM)
    assert (names.new, names.unused) == ((), ())
