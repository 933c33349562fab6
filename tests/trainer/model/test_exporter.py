import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tests.trainer.model.builders import located_folder, random_prompts, save_tiny_model, train_config
from trainer.config.sections import Regularization
from trainer.config.train import TrainConfig
from trainer.model import apply_method, export, load_model, load_tokenizer, provenance_of
from trainer.model.lora import peft_warnings_silenced

INPUT = torch.tensor(random_prompts([12]))
BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
FULL = train_config(method={"full": {}})


def trained(folder: Path, config: TrainConfig, dtype: torch.dtype = torch.float32) -> Any:
    """Return a model whose trained weights have moved, as if by training."""
    model = apply_method(load_model(located_folder(folder), dtype), config.method, Regularization(dropout=0.1), seed=1)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def exported(model: Any, config: TrainConfig, base: Path, directory: Path, state: dict[str, torch.Tensor] | None = None) -> list[Path]:
    located, whole = located_folder(base), dict(model.named_parameters()) if state is None else state
    return export(model, load_tokenizer(located), config, directory, located, provenance_of(located, torch.float32), whole)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base", tied=request.param)


def test_plain_peft_and_transformers_load_both_forms_and_give_the_same_logits(base: Path, tmp_path: Path) -> None:
    model = trained(base, BOTH)
    expected = model(INPUT).logits

    adapter, merged = exported(model, BOTH, base, tmp_path / "model")

    with peft_warnings_silenced():
        with_adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
        by_name = AutoPeftModelForCausalLM.from_pretrained(adapter).eval()
    torch.testing.assert_close(with_adapter(INPUT).logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(merged)(INPUT).logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(by_name(INPUT).logits, expected, rtol=0, atol=0)
    assert not torch.allclose(AutoModelForCausalLM.from_pretrained(base)(INPUT).logits, expected)


def test_a_fully_trained_model_is_loaded_by_plain_transformers(base: Path, tmp_path: Path) -> None:
    model = trained(base, FULL)

    (merged,) = exported(model, FULL, base, tmp_path / "model")

    loaded = AutoModelForCausalLM.from_pretrained(merged)
    torch.testing.assert_close(loaded(INPUT).logits, model(INPUT).logits, rtol=0, atol=0)
    tied = loaded.config.tie_word_embeddings
    assert (loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight) == tied


def test_tokenizer_with_template_and_the_record_of_the_base_weights_lie_beside_each_form(base: Path, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a job"}]
    located = located_folder(base)

    for folder in exported(trained(base, BOTH), BOTH, base, tmp_path / "model"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.apply_chat_template(turns) == load_tokenizer(located).apply_chat_template(turns)
        record = json.loads((folder / "base-weights.json").read_text())
        assert record["digest"] == provenance_of(located, torch.float32).digest
        assert record["source"] == located.source
        assert all(file.stat().st_mode & 0o044 == 0o044 for file in folder.iterdir()), "others must be able to read a model"


def test_the_adapter_names_the_base_as_the_job_does(base: Path, tmp_path: Path) -> None:
    adapter, _ = exported(trained(base, BOTH), BOTH, base, tmp_path / "model")

    config = PeftConfig.from_pretrained(adapter)

    assert config.base_model_name_or_path == str(base)
    assert config.inference_mode


@pytest.mark.parametrize("config", [BOTH, FULL], ids=["lora", "full"])
def test_generation_stops_where_the_template_ends_a_turn(saved_model: Path, tmp_path: Path, config: TrainConfig) -> None:
    tokenizer = load_tokenizer(located_folder(saved_model))
    end, turn = tokenizer.convert_tokens_to_ids(["<|end|>", "<|turn|>"])

    for folder in exported(trained(saved_model, config), config, saved_model, tmp_path / "model"):
        settings = GenerationConfig.from_pretrained(folder)
        assert settings.eos_token_id == [end, turn]
        assert settings.pad_token_id == end


def test_a_base_whose_settings_do_not_go_together_is_exported(saved_model: Path, tmp_path: Path) -> None:
    model = trained(saved_model, BOTH)
    settings = json.loads((saved_model / "generation_config.json").read_text()) | {"do_sample": False, "temperature": 0.6}
    (saved_model / "generation_config.json").write_text(json.dumps(settings))

    *_, merged = exported(model, BOTH, saved_model, tmp_path / "model")

    assert GenerationConfig.from_pretrained(merged).temperature is None


@pytest.mark.parametrize("config", [BOTH, FULL], ids=["lora", "full"])
def test_a_sharded_model_is_exported_from_the_gathered_state(saved_model: Path, tmp_path: Path, config: TrainConfig) -> None:
    model = trained(saved_model, config)
    expected = model(INPUT).logits
    state = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    for parameter in model.parameters():
        parameter.data = torch.empty(0)

    folders = exported(model, config, saved_model, tmp_path / "model", state)

    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(folders[-1])(INPUT).logits, expected, rtol=1e-4, atol=1e-4)


def test_a_bfloat16_run_writes_a_bfloat16_model_from_its_float32_state(saved_model: Path, tmp_path: Path) -> None:
    model = trained(saved_model, FULL, torch.bfloat16)
    state = {name: parameter.detach().float() for name, parameter in model.named_parameters()}

    (merged,) = exported(model, FULL, saved_model, tmp_path / "model", state)

    loaded = AutoModelForCausalLM.from_pretrained(merged)
    assert loaded.dtype is torch.bfloat16
    torch.testing.assert_close(loaded(INPUT).logits, model(INPUT).logits, rtol=0, atol=0)


def forget_one(state: dict[str, torch.Tensor]) -> None:
    del state[next(iter(state))]


def empty_one(state: dict[str, torch.Tensor]) -> None:
    state[next(iter(state))] = torch.empty(0)


def spoil_one(state: dict[str, torch.Tensor]) -> None:
    state[next(iter(state))].flatten()[0] = float("nan")


@pytest.mark.parametrize("config", [BOTH, FULL], ids=["lora", "full"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [(forget_one, "are missing"), (empty_one, "are empty"), (spoil_one, "are not finite")],
    ids=["missing", "empty", "nan"],
)
def test_a_damaged_state_is_refused_and_nothing_is_published(
    saved_model: Path, tmp_path: Path, config: TrainConfig, damage: Callable[[dict[str, torch.Tensor]], None], words: str
) -> None:
    model = trained(saved_model, config)
    state = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    damage(state)

    with pytest.raises(RuntimeError, match=words):
        exported(model, config, saved_model, tmp_path / "model", state)

    assert not list((tmp_path / "model").glob("[!.]*"))


def test_exporting_again_replaces_the_earlier_export_and_leaves_nothing_else(saved_model: Path, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    model = trained(saved_model, BOTH)
    exported(model, BOTH, saved_model, directory)
    (directory / "adapter" / "from-earlier").touch()
    (directory / ".merged.partial").mkdir()

    exported(model, BOTH, saved_model, directory)

    assert sorted(path.name for path in directory.iterdir()) == ["adapter", "merged"]
    assert not (directory / "adapter" / "from-earlier").exists()


def test_only_the_forms_asked_for_are_written(saved_model: Path, tmp_path: Path) -> None:
    merged_only = train_config(output={"directory": "/output", "export": ["merged"]})

    written = exported(trained(saved_model, merged_only), merged_only, saved_model, tmp_path / "model")

    assert [path.name for path in written] == ["merged"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["merged"]


def test_the_trained_model_is_left_as_it_was(saved_model: Path, tmp_path: Path) -> None:
    model = trained(saved_model, BOTH)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    exported(model, BOTH, saved_model, tmp_path / "model")

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
