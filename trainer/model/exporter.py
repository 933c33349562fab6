"""Write the tuned model in forms that plain peft and transformers load: the adapter, or the whole model with it merged in.

Every form is written beside its place, reloaded from there as a user would, and held against the logits of the model that was
measured, a merged one also number by number against base plus adapter; only when all agree are they renamed into their places.

In memory, besides the model under training: what was trained (of full fine-tuning a whole model in float32, of an adapter
little), and one whole model at a time, in the type that is written, or in float32 while an adapter is merged for another type.
For rank 0 only. Test: tests/trainer/model/test_exporter.py.
"""

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from finetune.api.sections import Export
from finetune.system.files import sync
from trainer.model.beside import Origin, write_beside
from trainer.model.card import adapter_card, merged_card
from trainer.model.load import base_reference, load_model
from trainer.model.lora import peft_warnings_silenced
from trainer.model.merging import check_adapter, merge
from trainer.model.verification import Difference, ExportMismatchError, Probe, fingerprints

ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Trained:
    """What training came to, free of the model that was trained, which may then be let go."""

    tensors: Mapping[str, Tensor]
    """float32 on the CPU: an adapter's by the names that peft writes, else the whole model's by parameter name."""
    adapter: LoraConfig | None
    step: int
    """Step whose weights these are."""

    @classmethod
    def of(cls, model: Any, full_state: Mapping[str, Tensor], step: int) -> "Trained":
        """Return the trained tensors of `model`; `full_state` holds them whole, as the model's own may be sharded.

        Raises RuntimeError when a tensor is missing, empty or not finite.
        """
        state = trained_state(model, full_state)
        if not isinstance(model, PeftModel):
            return cls(state, None, step)
        # save_embedding_layers would otherwise ask the hub for the base model's vocabulary.
        tensors = get_peft_model_state_dict(model, state_dict=dict(state), save_embedding_layers=False)
        if len(tensors) != len(state):
            raise RuntimeError(f"the adapter has {len(tensors)} tensors where {len(state)} were trained")
        return cls({name: tensor.contiguous() for name, tensor in tensors.items()}, model.peft_config["default"], step)


@dataclass(frozen=True)
class Exported:
    """A form that was written, verified and published."""

    form: Export
    path: Path
    step: int
    dtype: torch.dtype
    difference: Difference

    def to_wire(self) -> dict[str, Any]:
        """Return the form that the report holds."""
        return {
            "form": self.form.value, "path": str(self.path), "step": self.step, "dtype": str(self.dtype).removeprefix("torch."),
            "logitDifference": self.difference.relative, "maxLogitDifference": self.difference.largest,
            "tolerance": self.difference.tolerance,
        }  # fmt: skip


def export(
    trained: Trained, origin: Origin, forms: Sequence[Export], directory: Path, probe: Probe, dtype: torch.dtype | None = None,
    published: Callable[[Exported], None] = lambda _: None,
) -> list[Exported]:  # fmt: skip
    """Write `forms` as folders below `directory` and return them; a whole model in `dtype`, by default that of the base.

    `published` is told of each form as soon as it is in its place. Whenever a stop comes, each place holds a whole model: the
    new one, or what was there before.

    Raises ExportMismatchError when a form is not the model that was measured: then none is published.
    """
    directory.mkdir(parents=True, exist_ok=True)
    dtype = dtype or origin.dtype
    writer = _Writer(trained, origin, probe)
    staged: dict[Export, Path] = {}
    restore(directory)
    try:
        if trained.adapter is None:
            staged[Export.MERGED] = _stage(directory / Export.MERGED)
            found = {Export.MERGED: (dtype, writer.whole(staged[Export.MERGED], dtype))}
        else:
            # The adapter is written in any case: what is merged is what was read back.
            staged = {form: _stage(directory / form) for form in (Export.ADAPTER, Export.MERGED) if form in (Export.ADAPTER, *forms)}
            found = writer.adapter_and_merged(staged[Export.ADAPTER], staged.get(Export.MERGED), dtype)
        wanted = [form for form in staged if form in forms]
        for form in wanted:
            _to_disk(staged[form])
        done = []
        for form in wanted:
            _publish(staged[form], directory / form)
            done.append(Exported(form, directory / form, trained.step, *found[form]))
            published(done[-1])
        return done
    finally:
        for folder in staged.values():
            shutil.rmtree(folder, ignore_errors=True)


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


def base_dtype(model: nn.Module) -> torch.dtype:
    """Return the type of the base weights; adapters may be kept in a wider one."""
    return next(parameter.dtype for name, parameter in model.named_parameters() if "lora_" not in name)


@dataclass(frozen=True)
class _Writer:
    """Fills staged folders and verifies them."""

    trained: Trained
    origin: Origin
    probe: Probe

    def whole(self, staged: Path, dtype: torch.dtype) -> Difference:
        """Write the model whose every weight was trained."""
        return self._save_whole(_with_state(load_model(self.origin.located, dtype), self.trained.tensors), staged, dtype)

    def adapter_and_merged(self, adapter: Path, merged: Path | None, dtype: torch.dtype) -> dict[Export, tuple[torch.dtype, Difference]]:
        """Write the adapter, and with `merged` the whole model made from it."""
        base, revision = self._save_adapter(adapter)
        # In another type than the base was held in, the sum is rounded once, from float32.
        held = self.origin.dtype if merged is None or dtype == self.origin.dtype else torch.float32
        with peft_warnings_silenced():
            adapted = PeftModel.from_pretrained(load_model(self.origin.located, held), adapter)
        config = self.trained.adapter
        assert config is not None  # noqa: S101 the caller has looked
        check_adapter(adapted, self.trained.tensors, config.lora_alpha / config.r)
        write_beside(adapter, self.origin, adapted, adapter_card(self.origin, base, revision))
        found = {Export.ADAPTER: (torch.float32, self.probe.compare(adapted, "adapter", held))}
        if merged is not None:
            whole = merge(adapted)
            whole = whole if dtype == held else whole.to(dtype)
            del adapted
            found[Export.MERGED] = (dtype, self._save_whole(whole, merged, dtype))
        return found

    def _save_adapter(self, staged: Path) -> tuple[str, str | None]:
        """Write the adapter and return the base that it names, with its commit on the hub."""
        origin, tensors = self.origin, self.trained.tensors
        save_file(dict(tensors), staged / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        config = copy.copy(self.trained.adapter)
        assert config is not None  # noqa: S101 the caller has looked
        base, revision = base_reference(origin.located)
        config.inference_mode = True
        config.base_model_name_or_path, config.revision = base, revision
        config.target_modules = sorted(config.target_modules)
        config.save_pretrained(staged)
        with safe_open(staged / ADAPTER_WEIGHTS, framework="pt") as written:
            read = {name: written.get_tensor(name) for name in written.keys()}  # noqa: SIM118
        differing = [name for name in tensors if name not in read or not torch.equal(read[name], tensors[name])]
        if differing:
            raise RuntimeError(f"{staged} was not read back as it was written: {len(differing)} tensors differ, such as {differing[0]}")
        return base, revision

    def _save_whole(self, model: PreTrainedModel, staged: Path, dtype: torch.dtype) -> Difference:
        """Write a model, let it go, and verify what plain transformers reads; its name is the caller's last one for it."""
        overflowing = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
        if overflowing:
            problem = f"{len(overflowing)} tensors, such as {overflowing[0]}, are beyond what {str(dtype).removeprefix('torch.')} holds"
            raise ExportMismatchError(f"the whole model cannot be written: {problem}; bfloat16 has the range of float32")
        written = fingerprints(model)
        settings, model.generation_config = model.generation_config, GenerationConfig()  # written beside, with the ends of a turn
        model.save_pretrained(staged)
        model.generation_config = settings
        write_beside(staged, self.origin, model, merged_card(self.origin, lora=self.trained.adapter is not None))
        model.to("meta")  # frees its memory whoever still holds it
        read = AutoModelForCausalLM.from_pretrained(staged, local_files_only=True)
        if fingerprints(read) != written:
            raise RuntimeError(f"{staged} was not read back as it was written")
        return self.probe.compare(read, "merged model" if self.trained.adapter is not None else "whole model", dtype)


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


def _stage(place: Path) -> Path:
    """Return an empty folder beside `place`, invisible to those who list the folder without dot files."""
    staged = place.with_name(f".{place.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    return staged


def restore(directory: Path) -> None:
    """Put back the exports below `directory` that an export replaced which was killed before its own were in their places."""
    for form in Export:
        replaced = _replaced(directory / form)
        if replaced.exists() and not (directory / form).exists():
            replaced.rename(directory / form)


def _to_disk(staged: Path) -> None:
    """Have a staged folder written to the disk, which takes long, before anything is moved."""
    for file in staged.iterdir():
        # safetensors makes its files readable by their owner alone, yet who uses the model is seldom who trained it.
        file.chmod(0o644)
    for file in (*staged.iterdir(), staged):
        sync(file)


def _publish(staged: Path, place: Path) -> None:
    """Move a folder that is on the disk into its place; an earlier one is replaced, or put back where a stop comes between."""
    replaced = _replaced(place)
    shutil.rmtree(replaced, ignore_errors=True)
    try:
        if place.exists():
            place.rename(replaced)
        staged.rename(place)
    except BaseException:
        restore(place.parent)
        raise
    sync(place.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced(place: Path) -> Path:
    """Return where the earlier export waits while a new one takes its place."""
    return place.with_name(f".{place.name}.replaced")
