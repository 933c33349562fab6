import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune.api.errors import InputError
from finetune.api.trainconfig import RunModel
from tests.trainer.fixtures.causal import located_folder, tiny_model
from tests.trainer.fixtures.encoders import classes_family, save_encoder
from trainer.model.load import load_model, load_with_names, provenance_of
from trainer.model.location import locate
from trainer.model.tokenizer import load_tokenizer
from trainer.objectives.family import CAUSAL_LM


@pytest.fixture
def folder(saved_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


def test_weights_come_back_as_they_were_saved_in_the_type_asked_for(saved_model: Path) -> None:
    loaded = load_model(located_folder(saved_model), torch.float32, CAUSAL_LM)
    halved = load_model(located_folder(saved_model), torch.bfloat16, CAUSAL_LM)

    for name, parameter in tiny_model().named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter)
        assert torch.equal(halved.get_parameter(name), parameter.to(torch.bfloat16))


def test_tied_embeddings_stay_tied(saved_model: Path) -> None:
    model = load_model(located_folder(saved_model), torch.float32, CAUSAL_LM)

    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_the_tokenizer_brings_its_chat_template(saved_model: Path) -> None:
    tokenizer = load_tokenizer(located_folder(saved_model))

    text = tokenizer.apply_chat_template([{"role": "user", "content": "a job"}], tokenize=False, add_generation_prompt=True)

    assert text == "<|start|>user: a job<|turn|>\n<|start|>assistant: "


def test_provenance_states_digest_type_and_size(saved_model: Path) -> None:
    provenance = provenance_of(located_folder(saved_model), torch.float32)

    assert provenance.digest == "sha256:" + hashlib.sha256((saved_model / "model.safetensors").read_bytes()).hexdigest()
    assert provenance.precision == "float32"
    assert provenance.parameters == sum(parameter.numel() for parameter in tiny_model().parameters())
    assert str(saved_model) in provenance.source


def test_the_digest_of_a_sharded_model_follows_each_of_its_files(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    before = provenance_of(located_folder(folder), torch.float32)

    second = folder / "model-00002-of-00002.safetensors"
    changed = {name: tensor + 1 for name, tensor in load_file(second).items()}
    save_file(changed, second, metadata={"format": "pt"})

    assert before.parameters == sum(parameter.numel() for parameter in tiny_model().parameters())
    assert provenance_of(located_folder(folder), torch.float32).digest != before.digest


def test_weights_that_lack_tensors_are_refused_and_not_filled_with_random_numbers(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})

    with pytest.raises(InputError, match=r"lack 1 tensors of the architecture, such as model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(located_folder(folder), torch.float32, CAUSAL_LM)


def test_weights_of_another_shape_than_the_configuration_says_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"intermediate_size": 48}
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(InputError, match=r"have another shape for 6 tensors of the architecture, such as model\.layers\.0\.mlp\.down_proj"):
        load_model(located_folder(folder), torch.float32, CAUSAL_LM)


@pytest.mark.parametrize("content", ["{}", "not json", '{"model": {"type": "Unknown"}}'])
def test_a_tokenizer_that_cannot_be_read_is_the_users_to_mend(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)

    with pytest.raises(InputError, match=r"model\.path: the tokenizer in"):
        load_tokenizer(located_folder(folder))


def test_memory_that_ran_out_is_no_fault_of_the_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", out_of_memory)
    with pytest.raises(MemoryError):
        load_tokenizer(located_folder(folder))


def test_an_architecture_that_needs_its_own_code_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoModelForCausalLM": "modeling_homemade.Homemade"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_homemade.py").write_text("raise SystemExit('this code was run')\n")

    with pytest.raises(InputError, match=r"model\.path: the model in .* cannot be loaded"):
        load_model(located_folder(folder), torch.float32, CAUSAL_LM)


def test_an_encoder_that_learned_a_corpus_keeps_its_pooler_and_begins_with_the_head_that_it_would_have_had(tmp_path: Path) -> None:
    save_encoder(tmp_path / "untouched", seed=3)
    save_encoder(tmp_path / "adapted", "AutoModelForMaskedLM", seed=4)  # has no pooler
    request = RunModel.model_validate({"path": str(tmp_path / "untouched"), "adapted": {"path": str(tmp_path / "adapted")}})
    adapted, names = load_with_names(locate(request), torch.float32, classes_family(), seed=7)
    before, names_before = load_with_names(located_folder(tmp_path / "untouched"), torch.float32, classes_family(), seed=7)
    alone = load_model(located_folder(tmp_path / "adapted"), torch.float32, classes_family(), seed=7)

    assert names.new == names_before.new == ("classifier.bias", "classifier.weight")
    for name, parameter in adapted.named_parameters():
        expected = before if name.startswith(("classifier.", "bert.pooler.")) else alone
        assert torch.equal(parameter, expected.get_parameter(name)), name
    embeddings = "bert.embeddings.word_embeddings.weight"
    assert not torch.equal(before.get_parameter(embeddings), alone.get_parameter(embeddings))
    assert not torch.equal(before.get_parameter("bert.pooler.dense.weight"), alone.get_parameter("bert.pooler.dense.weight"))
