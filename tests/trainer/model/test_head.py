"""An encoder's head: kept where the weights have it for the same classes, else new from the job's seed; trained and exported."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from finetune.api.errors import InputError
from finetune.api.sections import LoraMethod, Method, Regularization
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder
from tests.trainer.fixtures.encoders import CLASSES, MASKED, SPANS, classes_family, save_encoder, tiny_encoder
from trainer.model.beside import Origin
from trainer.model.exporter import TrainedTensors, base_dtype, export
from trainer.model.head import has_head, head_findings, own_modules
from trainer.model.load import load_model, provenance_of
from trainer.model.lora import apply_method, peft_warnings_silenced
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import Probe
from trainer.objectives.family import Family
from trainer.outputs import logits_of
from trainer.storage.localfolder import LocalFolder

THREE = classes_family()
SAME_SHAPE = classes_family(("bad", "good", "so-so"))
LORA = Method(lora=LoraMethod.model_validate({"rank": 4, "alpha": 8}))
BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
FULL = train_config(method={"full": {}})


def with_classes(folder: Path, names: tuple[str, ...] = CLASSES) -> Path:
    """Write an encoder that was trained for classes."""
    return save_encoder(folder, "AutoModelForSequenceClassification", **classes_family(names).settings)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra", "albert", "modernbert"])
def test_a_head_that_the_weights_lack_begins_with_the_numbers_of_the_seed(tmp_path: Path, model_type: str) -> None:
    folder = save_encoder(tmp_path / "base", model_type=model_type, seed=5)

    first, again, other = (load_model(located_folder(folder), torch.float32, THREE, seed=seed) for seed in (1, 1, 2))

    same = {name: torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items()}
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert not all(same.values())
    base = tiny_encoder(model_type=model_type, seed=5).state_dict()
    kept = {name.removeprefix(f"{first.base_model_prefix}."): value for name, value in first.state_dict().items()}
    assert all(torch.equal(kept[name], value) for name, value in base.items() if name in kept)
    assert first.config.id2label == dict(enumerate(CLASSES))


def test_random_numbers_after_a_head_was_made_are_those_without_it(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "base")
    torch.manual_seed(9)
    state = torch.random.get_rng_state()

    load_model(located_folder(folder), torch.float32, THREE)

    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_head_for_the_same_classes_is_kept(tmp_path: Path) -> None:
    folder = with_classes(tmp_path / "base")

    model = load_model(located_folder(folder), torch.float32, THREE)

    assert torch.equal(model.classifier.weight, load_file(folder / "model.safetensors")["classifier.weight"])
    assert head_findings(AutoConfig.from_pretrained(folder), THREE) == []


@pytest.mark.parametrize("names", [("bad", "good", "so-so"), ("bad", "good"), ("positive", "neutral", "negative")])
def test_a_head_for_other_classes_is_replaced_also_where_it_has_the_same_shape(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = with_classes(tmp_path / "base", names)

    model = load_model(located_folder(folder), torch.float32, THREE, seed=1)

    assert model.classifier.weight.shape == (3, 32)
    assert not torch.equal(model.classifier.weight[: len(names)], load_file(folder / "model.safetensors")["classifier.weight"])
    assert torch.equal(model.bert.pooler.dense.weight, load_file(folder / "model.safetensors")["bert.pooler.dense.weight"])
    (finding,) = head_findings(AutoConfig.from_pretrained(folder), THREE)
    assert "are new, because its weights have one for other classes" in finding


@pytest.mark.parametrize(
    ("saved", "family", "kept"),
    [
        pytest.param("AutoModel", THREE, False, id="a bare encoder"),
        pytest.param("AutoModelForMaskedLM", THREE, False, id="a head of masked tokens, for classes"),
        pytest.param("AutoModelForMaskedLM", MASKED, True, id="a head of masked tokens, for them"),
        pytest.param("AutoModelForPreTraining", MASKED, True, id="both heads of BERT, for masked tokens"),
        pytest.param("AutoModelForQuestionAnswering", SPANS, True, id="a head of spans, for them"),
        pytest.param("AutoModel", MASKED, False, id="a bare encoder, for masked tokens"),
    ],
)
def test_what_is_said_of_a_head_is_what_is_loaded(tmp_path: Path, saved: str, family: Family, kept: bool) -> None:
    folder = save_encoder(tmp_path / "base", saved)

    models = [load_model(located_folder(folder), torch.float32, family, seed=seed) for seed in (1, 2)]

    one, other = (model.state_dict() for model in models)
    assert all(torch.equal(value, other[name]) for name, value in one.items()) is kept
    assert has_head(AutoConfig.from_pretrained(folder), family) is kept
    assert (head_findings(AutoConfig.from_pretrained(folder), family) == []) is kept


@pytest.mark.parametrize("lost", ["encoder.layer.1.output.dense.weight", "embeddings.word_embeddings.weight"])
def test_weights_that_lack_more_than_the_head_are_refused(tmp_path: Path, lost: str) -> None:
    folder = save_encoder(tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(InputError, match=f"lack 1 tensors of the architecture, such as bert.{lost}"):
        load_model(located_folder(folder), torch.float32, THREE)


def test_weights_that_lack_the_head_which_their_configuration_says_they_have_are_refused(tmp_path: Path) -> None:
    folder = with_classes(tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(InputError, match=r"lack 1 tensors of the architecture, such as classifier\.weight"):
        load_model(located_folder(folder), torch.float32, THREE)


@pytest.mark.parametrize(
    ("model_type", "family", "parts"),
    [
        ("bert", THREE, ["classifier", "bert.pooler"]),
        ("roberta", THREE, ["classifier"]),
        ("distilbert", THREE, ["pre_classifier", "classifier"]),
        ("bert", SPANS, ["qa_outputs"]),
        ("bert", MASKED, ["cls.predictions.transform"]),
        ("roberta", MASKED, ["lm_head.dense", "lm_head.layer_norm"]),
        ("distilbert", MASKED, ["vocab_transform", "vocab_layer_norm"]),
    ],
)
def test_beside_adapters_the_head_is_trained_but_not_what_it_shares_with_the_base(
    tmp_path: Path, model_type: str, family: Family, parts: list[str]
) -> None:
    model = load_model(located_folder(save_encoder(tmp_path / "base", model_type=model_type)), torch.float32, family)
    assert own_modules(model) == parts

    trained = apply_method(model, LORA, Regularization(), seed=1, family=family)

    names = [name for name, parameter in trained.named_parameters() if parameter.requires_grad]
    assert {name.partition(".modules_to_save")[0].removeprefix("base_model.model.") for name in names if "lora_" not in name} == set(parts)
    assert any("lora_" in name for name in names)


def moved(model: Any) -> Any:
    """Return the model with trained weights moved, as if by training."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("family", [THREE, MASKED, SPANS], ids=["classes", "masked tokens", "spans"])
@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
@pytest.mark.parametrize("config", [BOTH, FULL], ids=["LoRA", "full"])
def test_plain_libraries_load_the_exports_and_give_the_same_logits(
    tmp_path: Path, family: Family, model_type: str, config: TrainConfig
) -> None:
    located = located_folder(save_encoder(tmp_path / "base", model_type=model_type))
    model = moved(apply_method(load_model(located, torch.float32, family, seed=4), config.method, Regularization(), seed=1, family=family))
    ids = torch.tensor([[2, 30, 40, 50, 3], [2, 60, 70, 80, 3]])
    expected = logits_of(model(input_ids=ids)).detach()
    probe = Probe.take(lambda **inputs: logits_of(model(**inputs)), ids.tolist(), torch.float32, family)
    origin = Origin(located, load_tokenizer(located), provenance_of(located, torch.float32), "job", torch.float32, family, TaskName.CHAT)
    trained = TrainedTensors.of(model, dict(model.named_parameters()), step=7)

    forms = {form.form.value: form for form in export(trained, origin, config.exports, LocalFolder(tmp_path / "model"), probe)}

    kind = getattr(transformers, family.auto_class)
    merged = kind.from_pretrained(tmp_path / "model" / "merged").eval()
    torch.testing.assert_close(logits_of(merged(input_ids=ids)), expected, rtol=1e-4, atol=1e-4)
    if family is THREE:
        assert merged.config.id2label == dict(enumerate(CLASSES))
        assert merged.config.problem_type == "single_label_classification"
    if "adapter" in forms:
        with peft_warnings_silenced():
            adapted = PeftModel.from_pretrained(
                kind.from_pretrained(located.path, **family.settings), tmp_path / "model" / "adapter"
            ).eval()
        torch.testing.assert_close(logits_of(adapted(input_ids=ids)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", [THREE, MASKED, SPANS], ids=["classes", "masked tokens", "spans"])
@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_head_beside_a_16_bit_base_is_written_in_float32_and_merged_in_the_type_of_the_base(
    tmp_path: Path, dtype: torch.dtype, model_type: str, family: Family
) -> None:
    located = located_folder(save_encoder(tmp_path / "base", model_type=model_type))
    model = moved(apply_method(load_model(located, dtype, family, seed=4), LORA, Regularization(), seed=1, family=family))
    trained = TrainedTensors.of(model, dict(model.named_parameters()), step=7)
    assert base_dtype(model) is dtype
    origin = Origin(located, load_tokenizer(located), provenance_of(located, dtype), "job", dtype, family, TaskName.CHAT)

    def measured(**inputs: Any) -> Any:
        with torch.autocast("cpu", dtype):
            return logits_of(model(**inputs))

    probe = Probe.take(measured, [[2, 30, 40, 50, 3]], dtype, family)
    exported = export(trained, origin, BOTH.exports, LocalFolder(tmp_path / "model"), probe)

    written, whole = (load_file(next((tmp_path / "model" / form).glob("*model.safetensors"))) for form in ("adapter", "merged"))
    head = {name.removeprefix("base_model.model."): value for name, value in written.items() if "lora_" not in name}
    assert head
    for name, value in head.items():
        [parameter] = (kept for found, kept in model.named_parameters() if found.replace(".modules_to_save.default", "").endswith(name))
        assert torch.equal(value, parameter)
        assert not torch.equal(value, value.to(dtype).float()), "training has moved it between numbers of 16 bits"
        assert torch.equal(whole[name], value.to(dtype))
    assert all(form.difference.relative < form.difference.tolerance for form in exported)


def test_a_tied_output_layer_is_still_tied_in_the_merged_model(tmp_path: Path) -> None:
    located = located_folder(save_encoder(tmp_path / "base"))
    model = moved(apply_method(load_model(located, torch.float32, MASKED), LORA, Regularization(), seed=1, family=MASKED))
    probe = Probe.take(lambda **inputs: logits_of(model(**inputs)), [[2, 30, 3]], torch.float32, MASKED)
    origin = Origin(located, load_tokenizer(located), provenance_of(located, torch.float32), "job", torch.float32, MASKED, TaskName.CHAT)
    export(TrainedTensors.of(model, dict(model.named_parameters()), 1), origin, BOTH.exports, LocalFolder(tmp_path / "model"), probe)

    merged = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model" / "merged")

    assert merged.get_output_embeddings().weight is merged.get_input_embeddings().weight
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "model" / "merged").config.model_type == "bert"
