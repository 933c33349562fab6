"""What a model's config.json says of its limits. Needs transformers without torch.

Test: tests/trainer/preflight/test_architecture.py.
"""

from typing import TYPE_CHECKING

from huggingface_hub.errors import StrictDataclassError

from finetune.api.errors import InputError
from trainer.model.faults import FIX, first_line
from trainer.model.location import LocatedModel, folder_of
from trainer.model.torchless import import_transformers
from trainer.preflight.limits import ModelLimits

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FIXED_POSITIONS = frozenset({"biogpt", "codegen", "ctrl", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "openai-gpt", "opt"})
"""Model types with a table of positions: a token beyond its end is an IndexError. (OPT's table has two extra entries for itself.)"""


def limits_of(located: LocatedModel) -> ModelLimits:
    """Return the limits of a model's input; raises InputError for a configuration that cannot be read."""
    text = configuration_of(located).get_text_config()
    return ModelLimits(
        positions=getattr(text, "max_position_embeddings", None),
        fixed=text.model_type in FIXED_POSITIONS,
        vocabulary=getattr(text, "vocab_size", None),
    )


def configuration_of(located: LocatedModel) -> "PreTrainedConfig":
    """Return a model's configuration; raises InputError when transformers cannot read it, and what `folder_of` raises."""
    import_transformers()  # here, because rows are checked before transformers is imported
    from transformers import AutoConfig

    folder = folder_of(located)
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError, StrictDataclassError) as error:
        raise InputError(located.field, f"the configuration in {located.path} cannot be read: {first_line(error)}", FIX) from error
    return found
