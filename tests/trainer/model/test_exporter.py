import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from finetune.api.sections import Regularization
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, random_prompts, save_tiny_model, tiny_gpt2, tiny_tokenizer
from trainer.model.beside import Origin
from trainer.model.exporter import TrainedTensors, base_dtype, export
from trainer.model.load import load_model, provenance_of
from trainer.model.location import base_reference
from trainer.model.lora import apply_method, peft_warnings_silenced
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import ExportMismatchError, Probe
from trainer.objectives.family import CAUSAL_LM
from trainer.storage import localfolder
from trainer.storage.localfolder import LocalFolder

INPUT = torch.tensor(random_prompts([12]))
BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
FULL = train_config(method={"full": {}})


def trained(folder: Path, config: TrainConfig, dtype: torch.dtype = torch.float32) -> Any:
    """Return a model whose trained weights have moved, as if by training."""
    model = apply_method(
        load_model(located_folder(folder), dtype, CAUSAL_LM), config.method, Regularization(dropout=0.1), seed=1, family=CAUSAL_LM
    )
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def probe_of(model: Any) -> Probe:
    """Return what the model answers, as the engine would give it."""
    return Probe.take(lambda **inputs: model(**inputs).logits, random_prompts([12, 20], seed=5), base_dtype(model), CAUSAL_LM)


def exported(
    model: Any,
    config: TrainConfig,
    base: Path,
    directory: Path,
    state: dict[str, torch.Tensor] | None = None,
    probe: Probe | None = None,
    dtype: torch.dtype | None = None,
) -> list[Path]:
    located, whole = located_folder(base), dict(model.named_parameters()) if state is None else state
    origin = Origin(
        located,
        load_tokenizer(located),
        provenance_of(located, base_dtype(model)),
        "support-bot",
        base_dtype(model),
        CAUSAL_LM,
        TaskName.CHAT,
    )
    done = export(TrainedTensors.of(model, whole, step=7), origin, config.exports, LocalFolder(directory), probe or probe_of(model), dtype)
    return [Path(form.uri) for form in done]


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


def test_the_adapter_names_the_folder_of_a_base_that_lies_here(base: Path, tmp_path: Path) -> None:
    adapter, _ = exported(trained(base, BOTH), BOTH, base, tmp_path / "model")

    config = PeftConfig.from_pretrained(adapter)

    assert (config.base_model_name_or_path, config.revision) == (str(base.resolve()), None)
    assert config.inference_mode


def test_a_base_is_named_by_what_loads_the_very_weights_that_were_trained(saved_model: Path, tmp_path: Path) -> None:
    folder = located_folder(saved_model)
    of_a_store = replace(folder, name="org/model")
    of_the_hub = replace(folder, name="org/model", revision="c" * 40)
    (tmp_path / "link").symlink_to(saved_model)

    assert base_reference(of_a_store) == (str(saved_model.resolve()), None), "the hub's model of that name may be another"
    assert base_reference(located_folder(tmp_path / "link")) == (str(saved_model.resolve()), None)
    assert base_reference(of_the_hub) == ("org/model", "c" * 40)


@pytest.mark.parametrize("config", [BOTH, FULL], ids=["lora", "full"])
def test_generation_stops_where_the_template_ends_a_turn(saved_model: Path, tmp_path: Path, config: TrainConfig) -> None:
    tokenizer = load_tokenizer(located_folder(saved_model))
    end, turn = tokenizer.convert_tokens_to_ids(["<|end|>", "<|turn|>"])

    for folder in exported(trained(saved_model, config), config, saved_model, tmp_path / "model"):
        settings = GenerationConfig.from_pretrained(folder)
        assert settings.eos_token_id == [end, turn]
        assert settings.pad_token_id == end


def test_a_base_whose_settings_do_not_go_together_is_exported(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    settings = json.loads((base / "generation_config.json").read_text()) | {"do_sample": False, "temperature": 0.6}
    (base / "generation_config.json").write_text(json.dumps(settings))

    for folder in exported(trained(base, BOTH), BOTH, base, tmp_path / "model"):
        assert GenerationConfig.from_pretrained(folder).temperature is None


@pytest.mark.parametrize("config", [BOTH, FULL], ids=["lora", "full"])
def test_a_sharded_model_is_exported_from_the_gathered_state(saved_model: Path, tmp_path: Path, config: TrainConfig) -> None:
    model = trained(saved_model, config)
    expected = model(INPUT).logits
    state = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    probe = probe_of(model)
    for parameter in model.parameters():
        parameter.data = torch.empty(0)

    folders = exported(model, config, saved_model, tmp_path / "model", state, probe)

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
    (directory / ".merged.finetune-staged").mkdir()

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


OUTPUT_LAYER = train_config(
    method={"lora": {"rank": 4, "targetModules": ["q_proj", "lm_head", "embed_tokens"]}},
    output={"directory": "/output", "export": ["adapter", "merged"]},
)


def reloaded(base: Path, adapter: Path) -> Any:
    with peft_warnings_silenced():
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()


def test_adapters_on_output_layer_and_embedding_of_an_untied_model_give_the_same_logits_in_both_forms(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", tied=False)
    model = trained(base, OUTPUT_LAYER)
    expected = model(INPUT).logits

    adapter, merged = exported(model, OUTPUT_LAYER, base, tmp_path / "model")

    torch.testing.assert_close(reloaded(base, adapter)(INPUT).logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(merged)(INPUT).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", [None, ["c_attn", "c_fc"]], ids=["all linear", "named"])
def test_both_forms_of_a_model_of_conv1d_give_the_same_logits(tmp_path: Path, targets: list[str] | None) -> None:
    base = tmp_path / "base"
    tiny_gpt2().save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    lora = {"rank": 4} | ({"targetModules": targets} if targets else {})
    config = train_config(method={"lora": lora}, output={"directory": "/output", "export": ["adapter", "merged"]})
    model = trained(base, config)
    expected = model(INPUT).logits

    adapter, merged = exported(model, config, base, tmp_path / "model")

    torch.testing.assert_close(reloaded(base, adapter)(INPUT).logits, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(merged)(INPUT).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [BOTH, FULL], ids=["lora", "full"])
def test_an_export_that_is_not_the_model_measured_is_named_and_nothing_is_published(
    saved_model: Path, tmp_path: Path, config: TrainConfig
) -> None:
    model = trained(saved_model, config)
    measured = probe_of(model)
    with torch.no_grad():
        next(parameter for parameter in model.parameters() if parameter.requires_grad).mul_(3)

    with pytest.raises(ExportMismatchError, match=r"the (adapter|whole model) is not the model that was measured: .* not published"):
        exported(model, config, saved_model, tmp_path / "model", probe=measured)

    assert not list((tmp_path / "model").iterdir())


def test_a_merge_that_changes_the_model_is_found_though_the_adapter_is_right(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(saved_model, BOTH)

    def without_merging(self: PeftModel, safe_merge: bool) -> Any:
        return self.unload()

    monkeypatch.setattr(PeftModel, "merge_and_unload", without_merging, raising=False)
    with pytest.raises(ExportMismatchError, match="the merged model is not the model that was measured"):
        exported(model, BOTH, saved_model, tmp_path / "model")

    assert not list((tmp_path / "model").iterdir())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", [BOTH, FULL], ids=["lora", "full"])
def test_a_whole_model_is_written_in_the_type_that_is_asked_for(
    saved_model: Path, tmp_path: Path, config: TrainConfig, dtype: torch.dtype
) -> None:
    model = trained(saved_model, config)

    merged = exported(model, config, saved_model, tmp_path / "model", dtype=dtype)[-1]

    loaded = AutoModelForCausalLM.from_pretrained(merged)
    assert loaded.dtype is dtype
    exact = AutoModelForCausalLM.from_pretrained(exported(model, config, saved_model, tmp_path / "exact")[-1])
    assert all(torch.equal(one, other.to(dtype)) for one, other in zip(loaded.parameters(), exact.parameters(), strict=True)), (
        "rounded once, from float32"
    )


def test_numbers_beyond_what_the_type_holds_are_reported(saved_model: Path, tmp_path: Path) -> None:
    model = trained(saved_model, FULL)
    with torch.no_grad():
        model.get_submodule("model.norm").weight[0] = 1e6

    with pytest.raises(ExportMismatchError, match=r"1 tensors, such as model\.norm\.weight, are beyond what float16 holds"):
        exported(model, FULL, saved_model, tmp_path / "model", dtype=torch.float16)


def test_a_base_without_generation_settings_gets_those_of_its_configuration(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    (base / "generation_config.json").unlink()

    for folder in exported(trained(base, BOTH), BOTH, base, tmp_path / "model"):
        assert 0 in GenerationConfig.from_pretrained(folder).eos_token_id


def stop_once(monkeypatch: pytest.MonkeyPatch, name: str, place: Any, when: Callable[..., bool]) -> None:
    """Have the call of `place.name` that `when` knows raise what a signal raises, before it does anything."""
    original = getattr(place, name)

    def stopped(*arguments: Any) -> Any:
        if when(*arguments):
            monkeypatch.undo()
            raise SystemExit(3)
        return original(*arguments)

    monkeypatch.setattr(place, name, stopped)


@pytest.mark.parametrize(
    ("name", "place", "when"),
    [
        pytest.param("sync", localfolder, lambda path: path.name == ".merged.finetune-staged", id="while it is written to the disk"),
        pytest.param("rename", Path, lambda path, _: path.name == ".merged.finetune-staged", id="between the two moves"),
    ],
)
def test_a_stop_leaves_the_earlier_export_in_its_place_and_nothing_beside_it(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: Any, when: Callable[..., bool]
) -> None:
    directory, model = tmp_path / "model", trained(saved_model, FULL)
    exported(model, FULL, saved_model, directory)
    (directory / "merged" / "from-earlier").touch()
    stop_once(monkeypatch, name, place, when)

    with pytest.raises(SystemExit):
        exported(model, FULL, saved_model, directory)

    assert [path.name for path in directory.iterdir()] == ["merged"]
    assert (directory / "merged" / "from-earlier").exists()


def test_an_export_that_a_killed_one_had_moved_away_is_put_back_and_kept_where_the_next_one_fails(
    saved_model: Path, tmp_path: Path
) -> None:
    directory, model = tmp_path / "model", trained(saved_model, FULL)
    exported(model, FULL, saved_model, directory)
    (directory / "merged").rename(directory / ".merged.finetune-replaced")
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    measured = replace(probe_of(model), logits=tuple(logits * -1 for logits in probe_of(model).logits))

    with pytest.raises(ExportMismatchError):
        exported(model, FULL, saved_model, directory, state, measured)

    assert [path.name for path in directory.iterdir()] == ["merged"]


def test_each_form_is_reported_when_it_is_in_its_place_and_both_only_once_both_are_valid(saved_model: Path, tmp_path: Path) -> None:
    model, located, told = trained(saved_model, BOTH), located_folder(saved_model), []
    origin = Origin(
        located, load_tokenizer(located), provenance_of(located, torch.float32), "support-bot", torch.float32, CAUSAL_LM, TaskName.CHAT
    )

    export(
        TrainedTensors.of(model, dict(model.named_parameters()), step=7), origin, BOTH.exports, LocalFolder(tmp_path / "model"),
        probe_of(model),
        published=lambda done: told.append((done.form.value, sorted(path.name for path in (tmp_path / "model").glob("[!.]*")))),
    )  # fmt: skip

    assert told == [("adapter", ["adapter"]), ("merged", ["adapter", "merged"])]
