"""Load the weights that `locate` found, with a record of which weights they are.

Reads only safetensors and runs no code of the model's repository. Test: tests/trainer/model/test_load.py.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from finetune.api.errors import InputError
from finetune.api.record import ModelProvenance
from finetune.api.sections import Quantization
from trainer.model.drawn import drawn_model
from trainer.model.earlier import made_by
from trainer.model.faults import FIX, first_line
from trainer.model.folder import weight_files
from trainer.model.head import POOLER, has_head, head_of, is_class_of
from trainer.model.location import LocatedModel, ModelKind, folder_of, untouched_folder
from trainer.model.quantization import check_available, in_words, load_options, settle
from trainer.model.weights import parameter_count, weights_digest
from trainer.objectives.family import Family, configured

CPU = torch.device("cpu")


@dataclass(frozen=True)
class WeightNames:
    """How the weights of files and of the model that they were loaded into differ, by name, sorted."""

    new: tuple[str, ...] = ()
    """Of the model, without weights in the files: drawn from the job's seed."""
    unused: tuple[str, ...] = ()
    """Of the files, without a place in the model."""


def load_model(
    located: LocatedModel, dtype: torch.dtype, family: Family, quantization: Quantization | None = None, device: torch.device = CPU,
    *, seed: int = 0,
) -> PreTrainedModel:  # fmt: skip
    """Load the weights in `dtype`, ready to train; raises InputError when they cannot be used, and what `folder_of` raises.

    With `quantization` those of linear layers are quantized, on `device`, and compute in `dtype`; otherwise the model is on the CPU.
    The head of an encoder that the weights lack is initialized from `seed`, and all weights where the job asks for random ones.
    """
    return load_with_names(located, dtype, family, quantization, device, seed=seed)[0]


def load_with_names(
    located: LocatedModel, dtype: torch.dtype, family: Family, quantization: Quantization | None = None, device: torch.device = CPU,
    *, seed: int = 0,
) -> tuple[PreTrainedModel, WeightNames]:  # fmt: skip
    """Return what `load_model` does, and which weights are new or not used."""
    transformers.utils.logging.disable_progress_bar()
    check_available(quantization)
    folder = folder_of(located)  # that a disk is full while it is made is no fault of the files
    try:
        if located.draws:
            drawn = drawn_model(folder, dtype, family, seed)
            return drawn, WeightNames(new=tuple(sorted(name for name, _ in drawn.named_parameters())))
        saved = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False) if family.new_head else None
        new_head = saved is not None and not has_head(saved, family)
        options: dict[str, Any] = {}
        if quantization is not None:
            options = load_options(quantization, dtype, device, _head_names(saved, family) if saved is not None else ())
        with _making_a_head(seed) if new_head else nullcontext():
            model, info = getattr(transformers, family.auto_class).from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, in our words
                output_loading_info=True,
                **family.settings,
                **options,
            )
            carried = _carried_over(model, located, info["missing_keys"], dtype)
            missing = set(info["missing_keys"]) - carried
            begun_again = new_head and saved is not None and is_class_of(saved, family)
            if carried:
                torch.manual_seed(seed)  # the rest of the head begins as it would without the corpus
            if begun_again or carried:
                _begin_again(model)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(located.field, f"the model in {located.path} cannot be loaded: {first_line(error)}", FIX) from error
    # transformers fills in random numbers for what does not fit, and only warns.
    head = tuple(f"{name}." for name in head_of(model)) if new_head else ()
    kept = tuple(name for name in head if name.endswith(f"{POOLER}."))
    absent, mismatched = (
        {name for name in names if not name.startswith(head)} if head else names
        for names in (missing, {str(key[0]) for key in info["mismatched_keys"]})
    )
    faults = [("lack", absent - mismatched), ("have another shape for", mismatched)]
    for fault, names in faults:
        if names:
            problem = f"the weights in {located.path} {fault} {len(names)} tensors of the architecture, such as {min(names)}"
            raise InputError(located.field, problem, "give the weights that belong to the config.json beside them")
    if quantization is not None:
        settle(model)
    drawn_again = [name for name, _ in model.named_parameters() if begun_again and name.startswith(head) and not name.startswith(kept)]
    new = {*missing, *(str(key[0]) for key in info["mismatched_keys"]), *drawn_again}
    return model, WeightNames(tuple(sorted(new)), tuple(sorted(info["unexpected_keys"])))


def _head_names(saved: PreTrainedConfig, family: Family) -> list[str]:
    """Return the names of the head's modules, before any weight is read."""
    with torch.device("meta"), no_init_weights():
        return head_of(getattr(transformers, family.auto_class).from_config(configured(saved, family), trust_remote_code=False))


def _carried_over(model: PreTrainedModel, located: LocatedModel, missing: Iterable[str], dtype: torch.dtype) -> set[str]:
    """Take the pooler, which a model that fills in words does without, from the weights that learned the corpus; return the names.

    Not of a model that ranks share (ZeRO stage 3), whose pooler is new.
    """
    prefix = f"{model.base_model_prefix}."
    names = {name for name in missing if name.startswith(f"{prefix}{POOLER}.") and not hasattr(model.get_parameter(name), "ds_id")}
    folder = untouched_folder(located) if names else None
    if folder is None:
        return set()
    with torch.random.fork_rng(), torch.no_grad():
        before, info = AutoModel.from_pretrained(
            folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        carried = {name for name in names if name.removeprefix(prefix) not in info["missing_keys"]}
        for name in carried:
            model.get_parameter(name).copy_(before.get_parameter(name.removeprefix(prefix)))
    return carried


def _begin_again(model: PreTrainedModel) -> None:
    """Initialize a head that was loaded with the weights of one for other classes, as if the weights had none; not its pooler."""
    for name in head_of(model):
        if not name.endswith(POOLER):
            for part in model.get_submodule(name).modules():
                part._is_hf_initialized = False
                for parameter in part.parameters(recurse=False):
                    parameter._is_hf_initialized = False
    model._initialize_missing_keys(is_quantized=False)  # of sharded parameters too


@contextmanager
def _making_a_head(seed: int) -> Iterator[None]:
    """Draw what a new head begins with from `seed`, the same on every rank; other random numbers are as without it.

    Silences transformers' list of what is new and what is not used: what matters of it is a finding.
    """
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        transformers.utils.logging.set_verbosity(before)


def provenance_of(
    located: LocatedModel, dtype: torch.dtype, digest: str | None = None, quantization: Quantization | None = None,
    drawn: int | None = None,
) -> ModelProvenance:  # fmt: skip
    """Return which weights these are, held in `dtype`; without a `digest` it reads every weight file, so call it on one rank only.

    `drawn` is the number of parameters of a model that has no weight files, because all are random.
    """
    held = str(dtype).removeprefix("torch.")
    if quantization is not None:
        held = f"{in_words(quantization)}, other weights {held}"
    stored = "4-bit (GGUF Q4_1), dequantized, held as " if located.kind is ModelKind.GGUF and not located.draws else ""
    found = digest or weights_digest(located)
    return ModelProvenance(
        name=located.name,
        source=f"random numbers from training.seed (configuration and tokenizer: {located.source})" if located.draws else located.source,
        precision=stored + held,
        digest=found,
        revision=located.revision,
        parameters=drawn if located.draws else parameter_count(weight_files(folder_of(located), located.field)),
        fine_tune_job=made_by(located.request, found),
    )
