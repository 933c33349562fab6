"""Write the tuned model in forms that plain peft and transformers load: the adapter, or the whole model with it merged in.

Every form is staged, reloaded as a user would load it, and compared with the logits of the model that was measured, a merged one
also number by number with base plus adapter; only when all agree are they published.

Memory, besides the model under training: the trained tensors (a whole model in float32 for full fine-tuning, little for an
adapter) and a few layers. The base and what is read back are mapped files, and what will be written is in files too, as `Spill`
says. Only where the base's files are of another type than they are held in, one whole model of that type is in memory.
For rank 0 only. Test: tests/trainer/model/test_exporter.py.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from finetune.api.sections import Export
from trainer.model.beside import Origin, write_beside
from trainer.model.card import adapter_card, merged_card
from trainer.model.load import load_model
from trainer.model.location import base_reference
from trainer.model.lora import peft_warnings_silenced
from trainer.model.merging import check_adapter, merge
from trainer.model.spill import Spill
from trainer.model.verification import Difference, ExportMismatchError, Probe, fingerprints
from trainer.storage.place import Place

ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class TrainedTensors:
    """The result of training, without the model under training, whose memory can then be freed."""

    tensors: Mapping[str, Tensor]
    """float32 on the CPU: an adapter's by the names that peft writes, else the whole model's by parameter name."""
    adapter: LoraConfig | None
    step: int
    """Step whose weights these are."""

    @classmethod
    def of(cls, model: Any, full_state: Mapping[str, Tensor], step: int) -> "TrainedTensors":
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
    uri: str
    step: int
    dtype: torch.dtype
    difference: Difference

    def to_wire(self) -> dict[str, Any]:
        """Return the report's entry."""
        return {
            "form": self.form.value, "path": self.uri, "step": self.step, "dtype": str(self.dtype).removeprefix("torch."),
            "logitDifference": self.difference.relative, "maxLogitDifference": self.difference.largest,
            "tolerance": self.difference.tolerance,
        }  # fmt: skip


def export(
    trained: TrainedTensors, origin: Origin, forms: Sequence[Export], place: Place, probe: Probe, dtype: torch.dtype | None = None,
    published: Callable[[Exported], None] = lambda _: None,
) -> list[Exported]:  # fmt: skip
    """Publish `forms` as folders in `place` and return them; a whole model in `dtype`, by default that of the base.

    `published` is called with each form once it is published. A stop at any moment leaves a whole model under each name: the new
    one, or the one that was there before.

    Raises ExportMismatchError when a form is not the model that was measured: then none is published.
    """
    dtype = dtype or origin.dtype
    writer = _Writer(trained, origin, probe)
    # An adapter is written in any case: it is read back to be merged.
    written = [Export.MERGED] if trained.adapter is None else [Export.ADAPTER, *(form for form in forms if form is Export.MERGED)]
    place.recover()
    with ExitStack() as stack:
        staged = {form: stack.enter_context(place.stage(form.value)) for form in written}
        folders = {form: staged[form].folder for form in written}
        if trained.adapter is None:
            found = {Export.MERGED: (dtype, writer.whole(folders[Export.MERGED], dtype))}
        else:
            found = writer.adapter_and_merged(folders[Export.ADAPTER], folders.get(Export.MERGED), dtype)
        wanted = [form for form in written if form in forms]
        for form in wanted:
            _make_readable(folders[form])
            staged[form].flush()  # both before either is published: it takes long, and a stop is likely to come in it
        done = []
        for form in wanted:
            staged[form].publish()
            done.append(Exported(form, place.uri(form.value), trained.step, *found[form]))
            published(done[-1])
        return done


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

    trained: TrainedTensors
    origin: Origin
    probe: Probe

    def whole(self, staged: Path, dtype: torch.dtype) -> Difference:
        """Write the model whose every weight was trained."""
        base = load_model(self.origin.located, dtype, self.origin.family)
        return self._save_whole(_with_state(base, self.trained.tensors, Spill(staged)), staged, dtype)

    def adapter_and_merged(self, adapter: Path, merged: Path | None, dtype: torch.dtype) -> dict[Export, tuple[torch.dtype, Difference]]:
        """Write the adapter, and with `merged` the whole model made from it."""
        base, revision = self._save_adapter(adapter)
        # In another type than the base was held in, the sum is rounded once, from float32.
        held = self.origin.dtype if merged is None or dtype == self.origin.dtype else torch.float32
        with peft_warnings_silenced():
            adapted = PeftModel.from_pretrained(load_model(self.origin.located, held, self.origin.family), adapter)
        config = self.trained.adapter
        assert config is not None  # noqa: S101 the caller has checked
        check_adapter(adapted, self.trained.tensors, config.lora_alpha / config.r)
        write_beside(adapter, self.origin, adapted, adapter_card(self.origin, base, revision))
        found = {Export.ADAPTER: (torch.float32, self.probe.compare(adapted, "adapter", held))}
        if merged is not None:
            spill = Spill(merged)
            whole = merge(adapted, keep=spill)
            if dtype != held:
                _convert(whole, dtype, spill)
            del adapted
            found[Export.MERGED] = (dtype, self._save_whole(whole, merged, dtype))
        return found

    def _save_adapter(self, staged: Path) -> tuple[str, str | None]:
        """Write the adapter and return the base that it names, with its commit on the hub."""
        origin, tensors = self.origin, self.trained.tensors
        save_file(dict(tensors), staged / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        config = copy.copy(self.trained.adapter)
        assert config is not None  # noqa: S101 the caller has checked
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
        """Write a model, free its memory, and verify what plain transformers reads. The caller must not use the model afterwards."""
        overflowing = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
        if overflowing:
            problem = f"{len(overflowing)} tensors, such as {overflowing[0]}, are beyond what {str(dtype).removeprefix('torch.')} holds"
            raise ExportMismatchError(f"the whole model cannot be written: {problem}; bfloat16 has the range of float32")
        written = fingerprints(model)
        settings, model.generation_config = model.generation_config, GenerationConfig()  # written beside, with the ends of a turn
        model.save_pretrained(staged)
        model.generation_config = settings
        write_beside(staged, self.origin, model, merged_card(self.origin, lora=self.trained.adapter is not None))
        model.to("meta")  # frees its memory even where the model is still referenced
        read = getattr(transformers, self.origin.family.auto_class).from_pretrained(staged, local_files_only=True)
        if fingerprints(read) != written:
            raise RuntimeError(f"{staged} was not read back as it was written")
        return self.probe.compare(read, "merged model" if self.trained.adapter is not None else "whole model", dtype)


def _with_state(base: PreTrainedModel, state: Mapping[str, Tensor], spill: Spill) -> PreTrainedModel:
    """Return the base model with trained values in place of its own."""
    parameters = dict(base.named_parameters())
    if parameters.keys() != state.keys():
        differing = sorted(parameters.keys() ^ state.keys())
        raise RuntimeError(f"the state to export and the base model differ in {len(differing)} tensors, such as {differing[0]}")
    for name, parameter in parameters.items():
        if parameter.shape != state[name].shape:
            raise RuntimeError(f"{name} has the shape {tuple(state[name].shape)} in the state, {tuple(parameter.shape)} in the base model")
        parameter.data = spill(state[name].to(parameter.dtype))
    return base


def _convert(model: PreTrainedModel, dtype: torch.dtype, spill: Spill) -> None:
    """Convert the model weight by weight."""
    for parameter in model.parameters():
        parameter.data = spill(parameter.detach().to(dtype))
    model.to(dtype)  # its buffers


def _make_readable(folder: Path) -> None:
    """Let everyone read the files: safetensors lets only their owner, and who uses a model is seldom who trained it."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
