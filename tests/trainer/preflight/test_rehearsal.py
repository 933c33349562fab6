"""A model is checked without its weights."""

import shutil
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.architectures import with_config
from tests.trainer.fixtures.causal import located_folder, save_tiny_model
from trainer.preflight.rehearsal import rehearse


def test_no_weight_is_read(saved_model: Path, tmp_path: Path) -> None:
    """Of a model on the hub only the small files are there."""
    shutil.copytree(saved_model, tmp_path / "model")
    located = located_folder(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()

    assert rehearse(located, train_config()).built
    with pytest.raises(InputError, match=r"method\.lora\.targetModules\[0\]"):
        rehearse(located, train_config(method={"lora": {"targetModules": ["query"]}}))


def test_a_model_that_is_no_causal_language_model_is_refused(saved_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.path: vit in .* is not a causal language model"):
        rehearse(with_config(saved_model, tmp_path / "model", "vit"), train_config())


def test_a_model_whose_rows_would_be_padded_is_named_with_the_reason(saved_model: Path, tmp_path: Path) -> None:
    located, wanted = with_config(saved_model, tmp_path / "model", "gpt_neo"), {"epochs": 1, "packing": "always"}
    reason = "GPTNeoForCausalLM cannot read packed rows: its attention cannot be replaced"
    assert rehearse(located, train_config()).findings == (f"training.packing: rows are padded, because {reason}",)
    assert rehearse(located, train_config(training=wanted | {"packing": "never"})).findings == ()
    with pytest.raises(InputError, match=rf"training\.packing: {reason}; set it to auto"):
        rehearse(located, train_config(training=wanted))
    assert rehearse(located_folder(saved_model), train_config(training=wanted)).findings == ()


def test_grouping_packed_rows_by_length_is_said_to_be_in_vain(saved_model: Path, tmp_path: Path) -> None:
    wanted = {"epochs": 1, "groupByLength": True}
    [finding] = rehearse(located_folder(saved_model), train_config(training=wanted)).findings
    assert finding.startswith("training.groupByLength: it saves nothing, because this model's rows are packed")
    assert rehearse(located_folder(saved_model), train_config(training=wanted | {"packing": "never"})).findings == ()
    padded = with_config(saved_model, tmp_path / "model", "gpt_neo")
    assert rehearse(padded, train_config(training=wanted)).findings == rehearse(padded, train_config()).findings


def test_recomputation_that_the_model_does_not_offer_is_refused(saved_model: Path, tmp_path: Path) -> None:
    config = train_config(training={"epochs": 1, "gradientCheckpointing": "always"})

    assert rehearse(located_folder(saved_model), config).built
    with pytest.raises(InputError, match=r"training\.gradientCheckpointing: not supported by CTRLLMHeadModel: .*; set it to never"):
        rehearse(with_config(saved_model, tmp_path / "model", "ctrl"), config)


def test_an_adapter_on_the_output_layer_of_a_tied_model_is_refused_before_any_weight_is_read(saved_model: Path) -> None:
    with pytest.raises(InputError, match=r"method\.lora\.targetModules\[1\]: lm_head shares its weights with model\.embed_tokens"):
        rehearse(located_folder(saved_model), train_config(method={"lora": {"targetModules": ["q_proj", "lm_head"]}}))


def test_an_adapter_on_an_embedding_is_refused_where_parameters_are_sharded(tmp_path: Path) -> None:
    located = located_folder(save_tiny_model(tmp_path / "untied", tied=False))
    lora = {"lora": {"rank": 4, "targetModules": ["q_proj", "lm_head", "embed_tokens"]}}

    assert rehearse(located, train_config(method=lora, workers={"workers": 2, "deepspeed": {"zeroStage": 2}})).built
    with pytest.raises(InputError, match=r"method\.lora\.targetModules\[2\]: model\.embed_tokens is an embedding"):
        rehearse(located, train_config(method=lora, workers={"workers": 2, "deepspeed": {"zeroStage": 3}}))
