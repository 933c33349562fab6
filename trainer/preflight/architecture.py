"""What a model's config.json says of its kind and its limits. Needs transformers without torch.

Test: tests/trainer/preflight/test_architecture.py.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError

from finetune.api.errors import InputError
from finetune.api.tasks import TASKS, ModelFamily, TaskName, in_words
from trainer.model.faults import FIX, first_line
from trainer.model.location import LocatedModel, folder_of
from trainer.model.torchless import import_transformers
from trainer.preflight.limits import ModelLimits
from trainer.tasks.base import Task
from trainer.tasks.registry import task_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ENCODERS = frozenset({
    "bert", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta", "roberta-prelayernorm",
    "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Model types that attend to later tokens unless their configuration sets is_decoder: as causal models they would see the answers."""
AFTER_PADDING = frozenset({
    "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Model types that count positions from the id of their padding on, so that many entries of their table are never reached."""
FIXED_POSITIONS = AFTER_PADDING | {
    "albert", "bert", "biogpt", "codegen", "convbert", "ctrl", "distilbert", "electra", "ernie", "gpt2", "gpt_bigcode", "gpt_neo", "gptj",
    "megatron-bert", "mobilebert", "openai-gpt", "opt", "rembert", "squeezebert",
}  # fmt: skip
"""Model types with a table of positions: a token beyond its end is an IndexError. (OPT's table has two extra entries for itself.)"""
FIXED_IN_BOTH = frozenset({"bart", "blenderbot", "blenderbot-small", "led", "marian", "mbart", "mvp", "pegasus", "plbart"})
"""Encoder-decoders with such a table for each of the two."""

SILENT = frozenset({"mra"})
"""Model types whose attention is a CUDA kernel that is fetched from a hub and built when a model is; whatever goes wrong there,
transformers computes zeros in its place and says nothing."""

KINDS: Mapping[ModelFamily, str] = {
    ModelFamily.CAUSAL: "a causal language model",
    ModelFamily.SEQ2SEQ: "an encoder-decoder model, such as T5 or BART",
    ModelFamily.ENCODER: "an encoder, such as BERT",
}
"""In messages."""


def task_for(name: TaskName, located: LocatedModel, configuration: "PreTrainedConfig") -> Task[Any]:
    """Return a task as the model with this configuration learns it; raises InputError for a model that cannot."""
    families = TASKS[name].families
    family = family_of(configuration)
    if configuration.model_type in SILENT:
        problem = f"the attention of {configuration.model_type} is a CUDA kernel that transformers silently replaces with zeros"
        fix = "give an encoder of another kind, such as ModernBERT, or BigBird or Longformer for long texts"
        raise InputError(located.field, f"{problem} where it cannot load it, so that no token would see another", fix)
    if family in families:
        return task_of(name, family)
    kinds = in_words([KINDS[needed] for needed in families], "or")
    if family is None:
        raise InputError(located.field, f"{configuration.model_type} in {located.path} is not {kinds}", FIX)
    learns = [task for task, facts in TASKS.items() if family in facts.families]
    problem = f"{configuration.model_type} in {located.path} is {KINDS[family]}, and task {name} needs {kinds}"
    fix = "give such a model" + (f", or a task that this one can learn: {in_words(learns, 'or')}" if learns else "")
    raise InputError(located.field, problem, fix)


def family_of(configuration: "PreTrainedConfig") -> ModelFamily | None:
    """Return the kind of a model; None for one that is none of those that can be trained, such as a model of images."""
    from transformers.models.auto import modeling_auto as known

    kind = configuration.model_type
    decodes = getattr(configuration, "is_decoder", False)
    if getattr(configuration, "is_encoder_decoder", False):
        return ModelFamily.SEQ2SEQ if kind in known.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES else None
    if kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (kind not in ENCODERS or decodes):
        return ModelFamily.CAUSAL
    if kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decodes:
        return ModelFamily.ENCODER
    return None


def limits_of(configuration: "PreTrainedConfig") -> ModelLimits:
    """Return the limits of a model's input; of two models that were joined to an encoder-decoder, those of both."""
    reading: Any = getattr(configuration, "encoder", None)
    writing: Any = getattr(configuration, "decoder", None)
    joined = reading is not None and writing is not None
    if not joined:
        reading = writing = configuration.get_text_config()
    vocabularies = [size for part in (reading, writing) if (size := getattr(part, "vocab_size", None)) is not None]
    two = getattr(configuration, "is_encoder_decoder", False)
    return ModelLimits(
        positions=_positions(reading, "max_encoder_position_embeddings"),
        answer_positions=_positions(writing, "max_decoder_position_embeddings") if two else None,
        fixed=any(part.model_type in FIXED_POSITIONS | FIXED_IN_BOTH for part in (reading, writing)),
        vocabulary=min(vocabularies, default=None),
    )


def _positions(configuration: "PreTrainedConfig", own: str) -> int | None:
    """Return the number of positions of an encoder or decoder, which some configurations give by a name of its `own`."""
    found: int | None = getattr(configuration, own, None) or getattr(configuration, "max_position_embeddings", None)
    if found is not None and configuration.model_type in AFTER_PADDING:
        found -= 1 + (configuration.pad_token_id or 0)
    return found


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
