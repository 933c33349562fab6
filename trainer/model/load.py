"""Load the weights that `locate` found, with a record of which weights they are.

Reads only safetensors and runs no code of the model's repository. Test: tests/trainer/model/test_load.py.
"""

import torch
import transformers
from transformers import PreTrainedModel

from finetune.api.errors import InputError
from finetune.api.record import ModelProvenance
from trainer.model.faults import FIX, first_line
from trainer.model.folder import weight_files
from trainer.model.location import LocatedModel, ModelKind, folder_of
from trainer.model.weights import parameter_count, weights_digest
from trainer.objectives.family import Family


def load_model(located: LocatedModel, dtype: torch.dtype, family: Family) -> PreTrainedModel:
    """Load the weights in `dtype`, ready to train; raises InputError when they cannot be used, and what `folder_of` raises."""
    transformers.utils.logging.disable_progress_bar()
    folder = folder_of(located)  # that a disk is full while it is made is no fault of the files
    try:
        model, info = getattr(transformers, family.auto_class).from_pretrained(
            folder,
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
