"""The limits in a model's config.json are those of the real model."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, EncoderDecoderConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily, TaskName
from tests.repository import REPOSITORY
from tests.trainer.fixtures.architectures import OWN, SMALL, with_config
from tests.trainer.fixtures.causal import located_folder
from trainer.preflight.architecture import ENCODERS, FIXED_IN_BOTH, FIXED_POSITIONS, configuration_of, family_of, limits_of, task_for
from trainer.preflight.limits import ModelLimits

FIRST = """
import sys
from pathlib import Path
from tests.trainer.fixtures.causal import located_folder
from trainer.preflight.architecture import configuration_of, limits_of

print(limits_of(configuration_of(located_folder(Path(sys.argv[1])))).positions, "torch" in sys.modules)
"""


def test_the_first_that_asks_for_transformers_gets_it_without_torch(saved_model: Path) -> None:
    positions = limits_of(configuration_of(located_folder(saved_model))).positions
    done = subprocess.run([sys.executable, "-c", FIRST, str(saved_model)], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(positions), "False"]


BOTH = {
    "vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 24, "pad_token_id": 1, "decoder_start_token_id": 2,
}  # fmt: skip


def runs(model_type: str, length: int) -> bool:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(SMALL | OWN.get(model_type, {})))).eval()
    try:
        model(torch.zeros((1, length), dtype=torch.long))
    except (IndexError, RuntimeError):
        return False
    return True


def test_a_model_whose_attention_may_silently_be_zero_is_refused_whatever_is_installed(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = with_config(saved_model, tmp_path / "model", "mra")
    (tmp_path / "kernels.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("kernels") is not None

    with pytest.raises(
        InputError, match=r"^model\.path: the attention of mra is a CUDA kernel .* zeros .*; give an encoder of another kind"
    ):
        task_for(TaskName.LANGUAGE_MODELING, located, configuration_of(located))


DECODERS = sorted(name for name in FIXED_POSITIONS if name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and name not in ENCODERS)


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_table_of_positions_holds_just_as_many_as_is_said(saved_model: Path, tmp_path: Path, model_type: str) -> None:
    limits = limits_of(configuration_of(with_config(saved_model, tmp_path / "model", model_type)))

    assert (limits.positions, limits.fixed, limits.vocabulary) == (16, True, 64)
    assert runs(model_type, 16)
    assert not runs(model_type, 17)


@pytest.mark.parametrize("model_type", sorted(FIXED_POSITIONS.difference(DECODERS, ["longformer", "squeezebert", "xmod"])))
def test_the_positions_of_an_encoder_are_those_that_it_reaches(model_type: str) -> None:
    config = AutoConfig.for_model(model_type, **(SMALL | {"max_position_embeddings": 20, "num_attention_heads": 2}))
    model, positions = AutoModel.from_config(config), limits_of(config).positions

    model(torch.full((1, positions), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, positions + 1), 5))


@pytest.mark.parametrize("model_type", sorted(FIXED_IN_BOTH))
@pytest.mark.parametrize("part", ["read", "written"])
def test_an_encoder_decoder_s_tables_hold_just_as_many_as_is_said(model_type: str, part: str) -> None:
    read, written = (16, 24) if model_type == "led" else (24, 24)
    own = {"max_encoder_position_embeddings": read, "max_decoder_position_embeddings": written, "attention_window": 4}
    config = AutoConfig.for_model(model_type, **BOTH, **(own if model_type == "led" else {}))
    limits = limits_of(config)
    assert (limits.positions, limits.answer_positions, limits.fixed) == (read, written, True)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()

    def runs(length: int) -> bool:
        ids, short = torch.zeros((1, length), dtype=torch.long), torch.zeros((1, 4), dtype=torch.long)
        try:
            model(input_ids=ids if part == "read" else short, decoder_input_ids=short if part == "read" else ids)
        except (IndexError, RuntimeError):
            return False
        return True

    assert runs(read if part == "read" else written)
    assert not runs(1 + (read if part == "read" else written))


def test_two_models_that_were_joined_have_the_limits_of_both() -> None:
    parts = [AutoConfig.for_model("bert", max_position_embeddings=count, vocab_size=words) for count, words in ((16, 70), (24, 60))]
    limits = limits_of(EncoderDecoderConfig.from_encoder_decoder_configs(*parts))
    assert limits == ModelLimits(positions=16, answer_positions=24, fixed=True, vocabulary=60)


@pytest.mark.parametrize("model_type", ["llama", "gpt_neox", "xglm", "bloom", "qwen2", "phi"])
def test_other_models_go_on_beyond_their_context(saved_model: Path, tmp_path: Path, model_type: str) -> None:
    assert not limits_of(configuration_of(with_config(saved_model, tmp_path / "model", model_type))).fixed
    assert runs(model_type, 40)


@pytest.mark.parametrize(
    ("model_type", "settings", "family"),
    [
        pytest.param("llama", {}, ModelFamily.CAUSAL, id="a decoder"),
        pytest.param("bert", {}, ModelFamily.ENCODER, id="an encoder"),
        pytest.param("distilbert", {}, ModelFamily.ENCODER, id="an encoder that is never a decoder"),
        pytest.param("t5", {}, ModelFamily.SEQ2SEQ, id="an encoder-decoder"),
        pytest.param("bart", {}, ModelFamily.SEQ2SEQ, id="an encoder-decoder whose class also decodes alone"),
        pytest.param("bert", {"is_decoder": True}, ModelFamily.CAUSAL, id="an encoder's architecture that sees no later tokens"),
        pytest.param("vit", {}, None, id="a model of images"),
    ],
)
def test_the_kind_of_a_model_is_found_in_its_configuration(model_type: str, settings: dict[str, bool], family: ModelFamily | None) -> None:
    assert family_of(AutoConfig.for_model(model_type, **settings)) is family


@pytest.mark.parametrize("model_type", ["t5", "bart", "marian"])
def test_a_task_that_an_encoder_decoder_cannot_learn_is_refused_with_others(saved_model: Path, tmp_path: Path, model_type: str) -> None:
    located = with_config(saved_model, tmp_path / "model", model_type)
    with pytest.raises(InputError) as caught:
        task_for(TaskName.CHAT, located, configuration_of(located))
    said = str(caught.value)
    assert f"{model_type} in {located.path} is an encoder-decoder model, such as T5 or BART, and task chat needs a causal" in said
    learns = said.partition("or a task that this one can learn: ")[2]
    assert {"text-generation", "translation", "transcript-correction"} <= set(learns.replace(" or ", ", ").split(", "))
    for name in (TaskName.TEXT_GENERATION, TaskName.TRANSLATION, TaskName.TRANSCRIPT_CORRECTION):
        assert task_for(name, located, configuration_of(located)).family is ModelFamily.SEQ2SEQ
