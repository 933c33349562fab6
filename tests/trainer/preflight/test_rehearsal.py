"""A model is checked without its weights, and its limits are those of the real one."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, save_tiny_model
from trainer.model.location import LocatedModel
from trainer.preflight.rehearsal import FIXED_POSITIONS, rehearse

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 1,
}
OWN = {
    "gpt_neo": {"attention_types": [[["global"], 1]]},
    "opt": {"word_embed_proj_dim": 32},
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4, "num_attention_heads": 4},
    "qwen2": {"num_key_value_heads": 2},
}


def with_config(saved_model: Path, folder: Path, model_type: str) -> LocatedModel:
    """Return a folder whose config.json is of `model_type`; its weights remain those of another model."""
    shutil.copytree(saved_model, folder)
    AutoConfig.for_model(model_type, **(SMALL | OWN.get(model_type, {}))).save_pretrained(folder)
    return replace(located_folder(folder), revision="c" * 40)


def runs(model_type: str, length: int) -> bool:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(SMALL | OWN.get(model_type, {})))).eval()
    try:
        model(torch.zeros((1, length), dtype=torch.long))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("model_type", sorted(FIXED_POSITIONS))
def test_a_table_of_positions_holds_just_as_many_as_is_said(saved_model: Path, tmp_path: Path, model_type: str) -> None:
    limits = rehearse(with_config(saved_model, tmp_path / "model", model_type), train_config())

    assert (limits.positions, limits.fixed, limits.vocabulary) == (16, True, 64)
    assert runs(model_type, 16)
    assert not runs(model_type, 17)


@pytest.mark.parametrize("model_type", ["llama", "gpt_neox", "xglm", "bloom", "qwen2", "phi"])
def test_other_models_go_on_beyond_their_context(saved_model: Path, tmp_path: Path, model_type: str) -> None:
    assert not rehearse(with_config(saved_model, tmp_path / "model", model_type), train_config()).fixed
    assert runs(model_type, 40)


def test_no_weight_is_read(saved_model: Path, tmp_path: Path) -> None:
    """Of a model on the hub only the small files are there."""
    shutil.copytree(saved_model, tmp_path / "model")
    located = located_folder(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()

    assert rehearse(located, train_config()).positions == 128
    with pytest.raises(InputError, match=r"method\.lora\.targetModules\[0\]"):
        rehearse(located, train_config(method={"lora": {"targetModules": ["query"]}}))


def test_a_model_that_is_no_causal_language_model_is_refused(saved_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.path: vit in .* is not a causal language model"):
        rehearse(with_config(saved_model, tmp_path / "model", "vit"), train_config())


def test_recomputation_that_the_model_does_not_offer_is_refused(saved_model: Path, tmp_path: Path) -> None:
    config = train_config(training={"epochs": 1, "gradientCheckpointing": True})

    assert rehearse(located_folder(saved_model), config)
    with pytest.raises(InputError, match=r"training\.gradientCheckpointing: not supported by CTRLLMHeadModel: .*; set it to false"):
        rehearse(with_config(saved_model, tmp_path / "model", "ctrl"), config)


def test_an_adapter_on_the_output_layer_of_a_tied_model_is_refused_before_any_weight_is_read(saved_model: Path) -> None:
    with pytest.raises(InputError, match=r"method\.lora\.targetModules\[1\]: lm_head shares its weights with model\.embed_tokens"):
        rehearse(located_folder(saved_model), train_config(method={"lora": {"targetModules": ["q_proj", "lm_head"]}}))


def test_an_adapter_on_an_embedding_is_refused_where_parameters_are_sharded(tmp_path: Path) -> None:
    located = located_folder(save_tiny_model(tmp_path / "untied", tied=False))
    lora = {"lora": {"rank": 4, "targetModules": ["q_proj", "lm_head", "embed_tokens"]}}

    assert rehearse(located, train_config(method=lora, workers={"workers": 2, "deepspeed": {"zeroStage": 2}}))
    with pytest.raises(InputError, match=r"method\.lora\.targetModules\[2\]: model\.embed_tokens is an embedding"):
        rehearse(located, train_config(method=lora, workers={"workers": 2, "deepspeed": {"zeroStage": 3}}))
