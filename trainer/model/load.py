"""Load what `locate` found: tokenizer and weights, with a record of which weights they are.

Reads only safetensors and runs no code of the model's repository. Test: tests/trainer/model/test_load.py.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from finetune.api.errors import InputError
from finetune.api.record import ModelProvenance
from trainer.model.folder import weight_files
from trainer.model.gguf import dequantized_folder
from trainer.model.location import LocatedModel, ModelKind
from trainer.objectives.family import Family
from trainer.storage.digest import sha256_of


def folder_of(located: LocatedModel) -> Path:
    """Return the folder to load from; a GGUF file is dequantized into the cache at its first use."""
    return dequantized_folder(located.path) if located.kind is ModelKind.GGUF else located.path


def base_reference(located: LocatedModel) -> tuple[str, str | None]:
    """Return what loads the weights that are trained: name and commit on the hub, otherwise their folder.

    For weights that did not come from the hub, the name would load others, or wait for a hub that cannot be reached.
    """
    if located.revision is not None:
        return located.name, located.revision
    return str(folder_of(located).resolve()), None


def load_tokenizer(located: LocatedModel) -> PreTrainedTokenizerBase:
    """Load the tokenizer; raises InputError when its files cannot be used."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder_of(located), local_files_only=True, trust_remote_code=False
        )
    except RuntimeError:
        raise  # dequantizing failed, which is not the user's fault
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise InputError(located.field, f"the tokenizer in {located.path} cannot be loaded: {first_line(error)}", FIX) from error
    return tokenizer


def load_model(located: LocatedModel, dtype: torch.dtype, family: Family) -> PreTrainedModel:
    """Load the weights in `dtype`, ready to train; raises InputError when they cannot be used."""
    transformers.utils.logging.disable_progress_bar()
    try:
        model, info = getattr(transformers, family.auto_class).from_pretrained(
            folder_of(located),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported below, in our words
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(located.field, f"the model in {located.path} cannot be loaded: {first_line(error)}", FIX) from error
    # transformers fills in random numbers for what does not fit, and only warns.
    mismatched = {str(key[0]) for key in info["mismatched_keys"]}
    faults = [("lack", set(info["missing_keys"]) - mismatched), ("have another shape for", mismatched)]
    for fault, names in faults:
        if names:
            problem = f"the weights in {located.path} {fault} {len(names)} tensors of the architecture, such as {min(names)}"
            raise InputError(located.field, problem, "give the weights that belong to the config.json beside them")
    loaded: PreTrainedModel = model
    return loaded


def provenance_of(located: LocatedModel, dtype: torch.dtype, digest: str | None = None) -> ModelProvenance:
    """Return which weights these are, held in `dtype`; without a `digest` it reads every weight file, so call it on one rank only."""
    held = str(dtype).removeprefix("torch.")
    stored = "4-bit (GGUF Q4_1), dequantized, held as " if located.kind is ModelKind.GGUF else ""
    return ModelProvenance(
        name=located.name,
        source=located.source,
        precision=stored + held,
        digest=digest or weights_digest(located),
        revision=located.revision,
        parameters=parameter_count(weight_files(folder_of(located), located.field)),
    )


def parameter_count(files: Sequence[Path]) -> int:
    """Return the number of parameters by the headers of safetensors files; tied ones are stored once."""
    count = 0
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count


def weights_digest(located: LocatedModel) -> str:
    """Return sha256 of the one weight file as it was found, or of the list of several files' digests and names."""
    if located.kind is ModelKind.GGUF:
        return f"sha256:{sha256_of(located.path)}"
    files = weight_files(located.path, located.field)
    if len(files) == 1:
        return f"sha256:{sha256_of(files[0])}"
    listing = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


FIX = "give a folder as written by save_pretrained of model and tokenizer, of an architecture that transformers itself knows"


def first_line(error: Exception) -> str:
    """Return the first line of another library's error message, shortened."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
