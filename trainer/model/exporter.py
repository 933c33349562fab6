"""Write the tuned model in forms that plain peft and transformers load: the adapter, or the whole model with it merged in.

Every form is staged, reloaded as a user would load it, and compared with the logits of the model that was measured, a merged one
also number by number with base plus adapter; only when all agree are they published. Where the base was quantized, the adapter is
compared on the quantized base, which was measured, and merged into the original weights.

Memory, besides the model under training: the trained tensors, where they are not read from a checkpoint, and a few layers. The base
and what is read back are mapped files, and what will be written is in files too, as `Spill` says. Only where the base's files are of
another type than they are held in, one whole model of that type is in memory.
For rank 0 only. Test: tests/trainer/model/test_exporter.py.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from peft import LoraConfig, OSFConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from finetune.api.results import MODEL
from finetune.api.sections import Export, Quantization
from trainer.hub.weightnames import ADAPTER_WEIGHTS
from trainer.model.beside import Origin, write_beside
from trainer.model.card import adapter_card, merged_card
from trainer.model.head import head_of
from trainer.model.load import load_model
from trainer.model.location import base_reference
from trainer.model.lora import peft_warnings_silenced, scaling_of
from trainer.model.merging import check_adapter, merge
from trainer.model.spill import Spill
from trainer.model.verification import Difference, ExportMismatchError, Probe, difference_of, fingerprints
from trainer.model.weights import digest_of_folder
from trainer.storage.place import Place


@dataclass(frozen=True)
class TrainedTensors:
    """The result of training, without the model under training, whose memory can then be freed."""

    tensors: Mapping[str, Tensor]
    """float32 on the CPU: an adapter's by the names that peft writes, else the whole model's by parameter name.

    Those of a whole model may lie in a file: each is taken once to be checked and once to be written.
    """
    adapter: LoraConfig | OSFConfig | None
    step: int
    """Step whose weights these are."""
    frozen: frozenset[str] = frozenset()
    """Names of a whole model's parameters that were not trained, and are the base's."""

    @classmethod
    def of(cls, model: Any, full_state: Mapping[str, Tensor], step: int) -> "TrainedTensors":
        """Return the trained tensors of `model`; `full_state` holds them whole, as the model's own may be sharded.

        Raises RuntimeError when a tensor is missing, empty or not finite.
        """
        names = check_trained(model, full_state)
        if not isinstance(model, PeftModel):
            return cls(full_state, None, step, frozenset(name for name, _ in model.named_parameters()) - set(names))
        state = {name: full_state[name].detach().to("cpu") for name in names}
        # save_embedding_layers would otherwise ask the hub for the base model's vocabulary.
        tensors = get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False)
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
    from_measured: Difference | None = None
    """How far the original base with the adapter is from the quantized one that was measured; None if that was not quantized."""
    digest: str | None = None
    """sha256:… of the weights of a whole model, by which a later job that begins with it knows it again."""

    def to_wire(self) -> dict[str, Any]:
        """Return the report's entry."""
        measured = {} if self.from_measured is None else {"differenceFromMeasured": self.from_measured.relative}
        return {
            "form": self.form.value, "path": self.uri, "step": self.step, "dtype": str(self.dtype).removeprefix("torch."),
            "logitDifference": self.difference.relative, "maxLogitDifference": self.difference.largest,
            "tolerance": self.difference.tolerance, **measured, **({} if self.digest is None else {"digest": self.digest}),
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
            found = {Export.MERGED: Verified(dtype, writer.whole(folders[Export.MERGED], dtype))}
        else:
            found = writer.adapter_and_merged(folders[Export.ADAPTER], folders.get(Export.MERGED), dtype)
        wanted = [form for form in written if form in forms]
        digests: dict[Export, str] = {form: digest_of_folder(folders[form], MODEL) for form in wanted if form is Export.MERGED}
        for form in wanted:
            _make_readable(folders[form])
            staged[form].flush()  # both before either is published: it takes long, and a stop is likely to come in it
        done = []
        for form in wanted:
            staged[form].publish()
            one = found[form]
            done.append(
                Exported(form, place.uri(form.value), trained.step, one.dtype, one.difference, one.from_measured, digests.get(form))
            )
            published(done[-1])
        return done


def check_trained(model: nn.Module, full_state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the trained tensors; RuntimeError unless all are there, none is empty, all are finite.

    Each is taken from `full_state` once.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    faulty: dict[str, list[str]] = {}
    for name in names:
        value = full_state.get(name)
        if value is None:
            faulty.setdefault("missing", []).append(name)
        elif not value.numel():
            faulty.setdefault("empty (as a sharded model's are before they are gathered)", []).append(name)
        elif not torch.isfinite(value).all():
            faulty.setdefault("not finite", []).append(name)
    for fault, found in faulty.items():
        raise RuntimeError(f"of the tensors to export {len(found)} are {fault}, such as {found[0]}")
    return names


def method_in_words(adapter: LoraConfig | OSFConfig | None) -> str | None:
    """Return what kind of adapter it is; None where there is none."""
    if adapter is None:
        return None
    if isinstance(adapter, OSFConfig):
        return "OSF"
    return " with ".join(name for name, used in (("rsLoRA", adapter.use_rslora), ("DoRA", adapter.use_dora)) if used) or "LoRA"


def base_dtype(model: nn.Module) -> torch.dtype:
    """Return the type of the base weights; adapters and the head beside them may be kept in a wider one."""
    beside = ("lora_", "osf_", "modules_to_save")
    held = (parameter.dtype for name, parameter in model.named_parameters() if not any(part in name for part in beside))
    return next(dtype for dtype in held if dtype.is_floating_point)  # quantized ones are bytes


class Verified(NamedTuple):
    """What was found of a form that was written and read back; as in Exported."""

    dtype: torch.dtype
    difference: Difference
    from_measured: Difference | None = None


@dataclass(frozen=True)
class _Writer:
    """Fills staged folders and verifies them."""

    trained: TrainedTensors
    origin: Origin
    probe: Probe

    def whole(self, staged: Path, dtype: torch.dtype) -> Difference:
        """Write the model whose every weight was trained."""
        base = load_model(self.origin.located, dtype, self.origin.family, seed=self.origin.seed or 0)
        return self._save_whole(_with_state(base, self.trained.tensors, self.trained.frozen, Spill(staged)), staged, dtype, self.probe)

    def adapter_and_merged(self, adapter: Path, merged: Path | None, dtype: torch.dtype) -> dict[Export, Verified]:
        """Write the adapter, and with `merged` the whole model made from it."""
        base, revision = self._save_adapter(adapter)
        quantization = self.origin.quantization
        # In another type than the base was held in, the sum is rounded once, from float32.
        held = self.origin.dtype if merged is None or dtype == self.origin.dtype else torch.float32
        measured_in = held if quantization is None else self.origin.dtype
        adapted = self._read_adapter(adapter, measured_in, quantization)
        head = head_of(adapted.get_base_model()) if self.origin.family.new_head else []
        card = adapter_card(self.origin, base, revision, method_in_words(self.trained.adapter), head)
        write_beside(adapter, self.origin, adapted, card)
        found = {Export.ADAPTER: Verified(torch.float32, self.probe.compare(adapted, "adapter", measured_in))}
        if merged is None:
            return found
        probe, from_measured = self.probe, None
        if quantization is not None:
            # The adapter is added to the original weights, whose model was never measured: it is compared with itself before the merge.
            del adapted
            adapted = self._read_adapter(adapter, held, None)
            probe = self.probe.of(adapted, held)
            from_measured = difference_of(probe.logits, self.probe.logits, tolerance=math.inf)
        spill = Spill(merged)
        whole = merge(adapted, keep=spill)
        if dtype != held:
            _convert(whole, dtype, spill)
        del adapted
        found[Export.MERGED] = Verified(dtype, self._save_whole(whole, merged, dtype, probe), from_measured)
        return found

    def _read_adapter(self, folder: Path, dtype: torch.dtype, quantization: Quantization | None) -> PeftModel:
        """Return the base with the adapter that was written, which must be the one that was trained."""
        base = load_model(self.origin.located, dtype, self.origin.family, quantization)
        with peft_warnings_silenced():
            adapted = PeftModel.from_pretrained(base, folder)
        config = self.trained.adapter
        assert config is not None  # noqa: S101 the caller has checked
        check_adapter(adapted, self.trained.tensors, scaling_of(config) if isinstance(config, LoraConfig) else None)
        return adapted

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
        if config.modules_to_save is not None:
            config.modules_to_save = sorted(set(config.modules_to_save))
        if isinstance(config, LoraConfig) and config.exclude_modules is not None:
            config.exclude_modules = sorted(config.exclude_modules)
        config.save_pretrained(staged)
        with safe_open(staged / ADAPTER_WEIGHTS, framework="pt") as written:
            read = {name: written.get_tensor(name) for name in written.keys()}  # noqa: SIM118
        differing = [name for name in tensors if name not in read or not torch.equal(read[name], tensors[name])]
        if differing:
            raise RuntimeError(f"{staged} was not read back as it was written: {len(differing)} tensors differ, such as {differing[0]}")
        return base, revision

    def _save_whole(self, model: PreTrainedModel, staged: Path, dtype: torch.dtype, probe: Probe) -> Difference:
        """Write a model, free its memory, and verify what plain transformers reads. The caller must not use the model afterwards."""
        overflowing = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
        if overflowing:
            problem = f"{len(overflowing)} tensors, such as {overflowing[0]}, are beyond what {str(dtype).removeprefix('torch.')} holds"
            raise ExportMismatchError(f"the whole model cannot be written: {problem}; bfloat16 has the range of float32")
        written = fingerprints(model)
        settings = getattr(model, "generation_config", None)
        if settings is not None:
            model.generation_config = GenerationConfig()  # written beside, with the ends of a turn
        model.save_pretrained(staged)
        model.generation_config = settings
        write_beside(
            staged, self.origin, model, merged_card(self.origin, method_in_words(self.trained.adapter), frozen=bool(self.trained.frozen))
        )
        model.to("meta")  # frees its memory even where the model is still referenced
        read = getattr(transformers, self.origin.family.auto_class).from_pretrained(staged, local_files_only=True, trust_remote_code=False)
        if fingerprints(read) != written:
            raise RuntimeError(f"{staged} was not read back as it was written")
        return probe.compare(read, "merged model" if self.trained.adapter is not None else "whole model", dtype)


def _with_state(base: PreTrainedModel, state: Mapping[str, Tensor], untrained: Set[str], spill: Spill) -> PreTrainedModel:
    """Return the base model with trained values in place of its own, but for parameters that were not trained."""
    parameters = {name: parameter for name, parameter in base.named_parameters() if name not in untrained}
    if differing := sorted(parameters.keys() ^ (state.keys() - untrained)):
        raise RuntimeError(f"the state to export and the base model differ in {len(differing)} tensors, such as {differing[0]}")
    for name, parameter in parameters.items():
        value = state[name]
        if parameter.shape != value.shape:
            raise RuntimeError(f"{name} has the shape {tuple(value.shape)} in the state, {tuple(parameter.shape)} in the base model")
        parameter.data = spill(value.to(parameter.dtype))
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
