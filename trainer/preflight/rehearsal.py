"""Builds a model from its config.json alone and applies the job's method, to find in seconds what would fail in a worker.

No weights are read: parameters are on torch's meta device, which has shapes but no data. A program without torch has it done in a
process of its own, see rehearsing.py. Test: tests/trainer/preflight/test_rehearsal.py.
"""

import logging
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from finetune.api.errors import InputError
from finetune.api.sections import GradientCheckpointing
from finetune.api.trainconfig import TrainConfig
from trainer.model.faults import first_line
from trainer.model.freezing import tied_findings
from trainer.model.line import left_out
from trainer.model.location import LocatedModel
from trainer.model.lora import apply_method, refuse_sharded_embeddings
from trainer.model.loralinear import fuse_adapters
from trainer.model.noise import refuse_unheard_noise
from trainer.model.packing import layout_finding, padded_because
from trainer.model.quantization import quantization_of, refuse_unfit
from trainer.model.recompute import recompute_activations
from trainer.objectives.base import probed_forward
from trainer.objectives.family import Family, configured
from trainer.outputs import logits_of
from trainer.preflight.architecture import configuration_of, task_for
from trainer.preflight.passed import Rehearsed

logger = logging.getLogger(__name__)


def rehearse(located: LocatedModel, config: TrainConfig) -> Rehearsed:
    """Return what was found; raises InputError if the model cannot be trained as the job asks."""
    model_config = configuration_of(located)
    family = task_for(config.task, located, model_config).objective.family
    model = _without_weights(located, model_config, family)
    if model is None:
        return Rehearsed(built=False)
    if quantization_of(config.method) is not None:
        refuse_unfit(model)
    lora, deepspeed = config.method.lora, config.workers.deepspeed
    if lora is not None and deepspeed is not None and deepspeed.zero_stage == 3:
        refuse_sharded_embeddings(model, lora.target_modules)
    whole = apply_method(model, config.method, config.regularization, config.training.seed, family)
    if config.training.gradient_checkpointing is GradientCheckpointing.ALWAYS:
        _recompute(model)
    refuse_unheard_noise(whole, family)
    forward = probed_forward(whole, lambda **inputs: logits_of(whole(**inputs)), family)
    reason = padded_because(whole, forward.compute, forward.arguments, config.training.packing, gather=lambda found: [found])
    finding = layout_finding(config.training, reason, may_pack=not family.targets_follow)
    tied = tied_findings(model, config.method, config.training)
    sharded, sweep = deepspeed is not None and deepspeed.zero_stage == 3, None
    if config.adaptation is not None and config.adaptation.sweep is not None:
        sweep = left_out(config.method, whole, sharded=sharded)
    return Rehearsed(built=True, findings=(*filter(None, (finding, sweep)), *tied))


def bare_model(located: LocatedModel, config: TrainConfig) -> Any:
    """Return the model that a run trains, adapters included, on the meta device; None if it cannot be built there."""
    model_config = configuration_of(located)
    family = task_for(config.task, located, model_config).objective.family
    model = _without_weights(located, model_config, family)
    if model is None:
        return None
    trained = apply_method(model, config.method, config.regularization, config.training.seed, family)
    fuse_adapters(trained)
    return trained


def _without_weights(located: LocatedModel, model_config: PreTrainedConfig, family: Family) -> PreTrainedModel | None:
    """Return the model on the meta device; None if it cannot be built there, although it might load."""
    auto_class = getattr(transformers, family.auto_class)
    try:
        with torch.device("meta"), no_init_weights():
            model: PreTrainedModel = auto_class.from_config(configured(model_config, family), trust_remote_code=False)
        model.tie_weights()  # part of the skipped initialization; adapters depend on whether weights are shared
    except Exception as error:  # transformers may raise anything; only the worker that loads the weights can be certain
        logger.warning("%s could not be checked without its weights: %s", located.name, first_line(error))
        return None
    return model


def _recompute(model: PreTrainedModel) -> None:
    try:
        recompute_activations(model)
    except (ValueError, NotImplementedError) as error:
        fix = "set it to never for this model"
        raise InputError("training.gradientCheckpointing", f"not supported by {type(model).__name__}: {first_line(error)}", fix) from error
