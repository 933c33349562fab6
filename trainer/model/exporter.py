"""Write the tuned model in forms that plain peft and transformers load: the adapter, or the whole model with it merged in.

Each form is written beside its place, read back and compared, and then renamed into it; an empty tensor, which a sharded
model would give, is refused. For rank 0 only. Test: tests/trainer/model/test_exporter.py.
"""

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from trainer.config.files import sync
from trainer.config.record import ModelProvenance
from trainer.config.sections import Export
from trainer.config.train import TrainConfig
from trainer.data.ending import stop_ids
from trainer.model.load import load_model
from trainer.model.location import LocatedModel, ModelKind
from trainer.model.lora import peft_warnings_silenced

WEIGHTS_RECORD = "base-weights.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Origin:
    """What an export needs besides the trained tensors: the base model, its tokenizer, and the record of its weights."""

    located: LocatedModel
    tokenizer: PreTrainedTokenizerBase
    provenance: ModelProvenance
    dtype: torch.dtype
    """Type that the base weights were held in, and that a whole model is written in."""


def export(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainConfig,
    directory: Path,
    located: LocatedModel,
    provenance: ModelProvenance,
    full_state: Mapping[str, Tensor],
) -> list[Path]:
    """Write `config.exports` below `directory` and return the folders written.

    `full_state` holds every trained tensor whole, by parameter name: the model's own parameters may be sharded. Raises
    RuntimeError when a tensor is missing, empty, not finite or not read back as written.
    """
    state = trained_state(model, full_state)
    origin = Origin(located, tokenizer, provenance, _base_dtype(model))
    directory.mkdir(parents=True, exist_ok=True)
    if config.method.lora is None:
        staged = _stage(directory / "merged")
        _save_whole(_with_state(load_model(located, origin.dtype), state), origin, staged)
        return [_publish(staged, directory / "merged")]
    written = []
    adapter = _stage(directory / "adapter")
    _save_adapter(model, state, origin, adapter)
    if Export.MERGED in config.exports:
        staged = _stage(directory / "merged")
        # Merged from what was written, so that merging proves that the adapter loads. safe_merge refuses nan and infinity.
        with peft_warnings_silenced():
            adapted = PeftModel.from_pretrained(load_model(located, origin.dtype), adapter)
        _save_whole(adapted.merge_and_unload(safe_merge=True), origin, staged)
        written.append(_publish(staged, directory / "merged"))
    if Export.ADAPTER in config.exports:
        return [_publish(adapter, directory / "adapter"), *written]
    shutil.rmtree(adapter)
    return written


def trained_state(model: nn.Module, full_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return every trained tensor on the CPU by parameter name; all must be there, none empty, all finite."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    state = {name: full_state[name].detach().to("cpu") for name in names if name in full_state}
    for fault, faulty in (
        ("missing", [name for name in names if name not in state]),
        ("empty (as a sharded model's are before they are gathered)", [name for name in state if not state[name].numel()]),
        ("not finite", [name for name in state if not torch.isfinite(state[name]).all()]),
    ):
        if faulty:
            raise RuntimeError(f"of the tensors to export {len(faulty)} are {fault}, such as {faulty[0]}")
    return state


def _base_dtype(model: nn.Module) -> torch.dtype:
    """Return the type of the base weights; adapters may be kept in a wider one."""
    return next(parameter.dtype for name, parameter in model.named_parameters() if "lora_" not in name)


def _save_adapter(model: Any, state: Mapping[str, Tensor], origin: Origin, staged: Path) -> None:
    # save_embedding_layers would otherwise ask the hub for the base model's vocabulary.
    tensors = get_peft_model_state_dict(model, state_dict=dict(state), save_embedding_layers=False)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if len(tensors) != len(state):
        raise RuntimeError(f"the adapter has {len(tensors)} tensors where {len(state)} were trained")
    save_file(tensors, staged / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    config.base_model_name_or_path = origin.located.name
    config.revision = origin.located.revision
    config.target_modules = sorted(config.target_modules)
    config.save_pretrained(staged)
    _generation_settings(model, origin.tokenizer).save_pretrained(staged)
    with safe_open(staged / ADAPTER_WEIGHTS, framework="pt") as written:
        _compare({name: written.get_tensor(name) for name in written.keys()}, tensors, staged)  # noqa: SIM118
    _save_beside(origin, staged)


def _with_state(base: PreTrainedModel, state: Mapping[str, Tensor]) -> PreTrainedModel:
    """Return the base model with trained values in place of its own."""
    parameters = dict(base.named_parameters())
    if parameters.keys() != state.keys():
        differing = sorted(parameters.keys() ^ state.keys())
        raise RuntimeError(f"the state to export and the base model differ in {len(differing)} tensors, such as {differing[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])
    return base


def _save_whole(model: PreTrainedModel, origin: Origin, staged: Path) -> None:
    model.generation_config = _generation_settings(model, origin.tokenizer)
    model.save_pretrained(staged)
    _save_beside(origin, staged)
    reread = LocatedModel(str(staged), "output", staged, ModelKind.FOLDER, "the export itself", origin.located.request)
    _compare(dict(load_model(reread, origin.dtype).named_parameters()), dict(model.named_parameters()), staged)


def _generation_settings(model: Any, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Return the base model's settings with every token that ends an answer, so that generation stops where it was taught to."""
    settings: GenerationConfig = copy.deepcopy(model.generation_config)
    stops = stop_ids(model, tokenizer)
    settings.eos_token_id = stops[0] if len(stops) == 1 else stops or None
    if not settings.do_sample:
        # Without sampling they have no effect, and transformers writes no settings that hold them.
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"):
            setattr(settings, name, None)
    return settings


def _save_beside(origin: Origin, staged: Path) -> None:
    """Write the tokenizer, and which weights the base model had: a hub name alone does not say it."""
    origin.tokenizer.save_pretrained(staged)
    (staged / WEIGHTS_RECORD).write_text(json.dumps(origin.provenance.to_wire(), indent=2) + "\n", encoding="utf-8")


def _compare(written: Mapping[str, Tensor], expected: Mapping[str, Tensor], staged: Path) -> None:
    differing = [name for name in expected if name not in written or not torch.equal(written[name], expected[name])]
    if differing or len(written) != len(expected):
        raise RuntimeError(f"{staged} was not read back as it was written: {len(differing)} tensors differ, such as {differing[:1]}")


def _stage(place: Path) -> Path:
    """Return an empty folder beside `place`, invisible to those who list the folder without dot files."""
    staged = place.with_name(f".{place.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    return staged


def _publish(staged: Path, place: Path) -> Path:
    """Move a complete folder into its place, on disk before it is visible; an earlier one is replaced."""
    for file in staged.iterdir():
        # safetensors makes its files readable by their owner alone, yet who uses the model is seldom who trained it.
        file.chmod(0o644)
    for file in (*staged.iterdir(), staged):
        sync(file)
    replaced = place.with_name(f".{place.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if place.exists():
        place.rename(replaced)
    staged.rename(place)
    sync(place.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return place
