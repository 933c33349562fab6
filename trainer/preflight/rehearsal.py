"""Builds a model from its config.json alone and applies the job's method, to find in a second what would fail in a worker.

No weights are read: parameters are on torch's meta device, which has shapes but no data. Test:
tests/trainer/preflight/test_rehearsal.py.
"""

import logging

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from finetune.api.errors import InputError
from finetune.api.trainconfig import TrainConfig
from trainer.model.load import FIX, first_line, folder_of
from trainer.model.location import LocatedModel
from trainer.model.lora import apply_method, refuse_sharded_embeddings
from trainer.model.recompute import recompute_activations
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.preflight.limits import ModelLimits
from trainer.tasks.registry import task_of

logger = logging.getLogger(__name__)

FIXED_POSITIONS = frozenset({"biogpt", "codegen", "ctrl", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "openai-gpt", "opt"})
"""Model types with a table of positions: a token beyond its end is an IndexError. (OPT's table has two extra entries for itself.)"""

ENCODERS = frozenset({
    "bert", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta", "roberta-prelayernorm",
    "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Model types that attend to later tokens unless their configuration sets is_decoder: they would see the answers."""


def rehearse(located: LocatedModel, config: TrainConfig) -> ModelLimits:
    """Return the model's limits; raises InputError if it cannot be trained as the job asks."""
    model_config = _config(located)
    family = task_of(config.task).objective.family
    model = _without_weights(located, model_config, family)
    if model is not None:
        lora, deepspeed = config.method.lora, config.workers.deepspeed
        if lora is not None and deepspeed is not None and deepspeed.zero_stage == 3:
            refuse_sharded_embeddings(model, lora.target_modules)
        if config.training.gradient_checkpointing:
            _recompute(model)
        apply_method(model, config.method, config.regularization, config.training.seed, family)
    text = model_config.get_text_config()
    return ModelLimits(
        positions=getattr(text, "max_position_embeddings", None),
        fixed=text.model_type in FIXED_POSITIONS,
        vocabulary=getattr(text, "vocab_size", None),
    )


def _config(located: LocatedModel) -> PreTrainedConfig:
    folder = folder_of(located)
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError, StrictDataclassError) as error:
        raise InputError(located.field, f"the configuration in {located.path} cannot be read: {first_line(error)}", FIX) from error
    return found


def _without_weights(located: LocatedModel, model_config: PreTrainedConfig, family: Family) -> PreTrainedModel | None:
    """Return the model on the meta device; None if it cannot be built there, although it might load. InputError for another family."""
    auto_class = getattr(transformers, family.auto_class)
    sees_later = family is CAUSAL_LM and model_config.model_type in ENCODERS and not getattr(model_config, "is_decoder", False)
    if sees_later or type(model_config) not in auto_class._model_mapping:
        raise InputError(located.field, f"{model_config.model_type} in {located.path} is not a {family.name}", FIX)
    try:
        with torch.device("meta"), no_init_weights():
            model: PreTrainedModel = auto_class.from_config(model_config, trust_remote_code=False)
        model.tie_weights()  # part of the skipped initialization; adapters depend on whether weights are shared
    except Exception as error:  # transformers may raise anything; only the worker that loads the weights can be certain
        logger.warning("%s could not be checked without its weights: %s", located.name, first_line(error))
        return None
    return model


def _recompute(model: PreTrainedModel) -> None:
    try:
        recompute_activations(model)
    except (ValueError, NotImplementedError) as error:
        fix = "set it to false for this model"
        raise InputError("training.gradientCheckpointing", f"not supported by {type(model).__name__}: {first_line(error)}", fix) from error
