"""What a run begins with: tokenizer and model on this node, with the engine around the model.

Reads the model's files. Test: tests/trainer/rank/test_results.py.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from finetune.api.record import ModelProvenance
from finetune.api.sections import Export, GradientCheckpointing, Precision
from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine
from trainer.engine.factory import build_engine
from trainer.engine.fragments import shape_of
from trainer.engine.precision import exact_products, precision_of, set_matrix_products, weights_dtype
from trainer.model.compiling import compile_layers
from trainer.model.earlier import ADAPTER_NEEDS_STAGE, adapted_folder
from trainer.model.freezing import tied_findings
from trainer.model.layers import depths
from trainer.model.load import WeightNames, load_with_names, provenance_of
from trainer.model.location import LocatedModel, locate
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.model.packing import padded_because
from trainer.model.quantization import quantization_of
from trainer.model.recompute import recompute_activations
from trainer.model.spill import give_back_freed_memory
from trainer.objectives.base import Forward, probed_forward
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.preflight.inputs import Inputs, tokenizer_for

logger = logging.getLogger(__name__)

NAMED = 8
"""Names in one finding; the report has more."""


@dataclass(frozen=True)
class Loaded:
    """The engine with the model under training, and what belongs to it."""

    engine: Engine
    forward: Forward
    located: LocatedModel
    tokenizer: Any
    precision: Precision
    """The arithmetic of forward and backward that took effect."""
    provenance: ModelProvenance | None
    """On rank 0 only."""
    padded_because: str | None
    """Why rows are padded; None if they are packed. The same on every rank."""
    family: Family = CAUSAL_LM
    names: WeightNames = field(default_factory=WeightNames)
    """Which weights were new, and which were not used."""
    recomputes: bool = False
    """Whether activations are recomputed in the backward pass."""
    findings: tuple[str, ...] = ()
    """What is to be said of the weights."""

    @property
    def packed(self) -> bool:
        """Whether the model reads packed rows."""
        return self.padded_because is None

    @property
    def head_is_new(self) -> bool:
        """Whether the layers on top of an encoder began with random numbers; other weights of its files may not be missing."""
        return self.family.new_head and bool(self.names.new) and not self.located.draws

    @property
    def guesses(self) -> bool:
        """Whether the base model knows nothing of what it is measured by."""
        return self.located.draws or self.head_is_new


def load(config: TrainConfig, inputs: Inputs) -> Loaded:
    """Load tokenizer and model, and wrap the model in an engine."""
    # Decided by the job's request: a worker without its own GPU may see those of others.
    device = torch.device("cuda", torch.cuda.current_device()) if config.workers.gpus_per_worker > 0 else torch.device("cpu")
    dtype, precision = weights_dtype(config, device), precision_of(config, device)
    set_matrix_products(precision, device)
    located = locate(inputs.located.pinned())
    tokenizer = tokenizer_for(inputs.task, located, inputs.template_time)
    family, found = inputs.task.objective.family, []
    by_depth = depths if config.training.layerwise_learning_rate_decay != 1 else None

    def loaded_model() -> Any:
        model, names = trainable_model(config, family, located, dtype, device)
        found.append((names, weight_findings(model, config, names, drawn=located.draws)))
        return model

    engine = build_engine(config, loaded_model, device, by_depth)
    [(names, findings)] = found
    give_back_freed_memory()
    quantization = quantization_of(config.method)
    drawn = sum(math.prod(shape_of(parameter)) for parameter in engine.model.parameters()) if located.draws else None
    provenance = provenance_of(located, dtype, inputs.weights_digest, quantization, drawn) if engine.rank == 0 else None
    if provenance is not None:
        logger.info("weights of %s from %s, %s, %s", provenance.name, provenance.source, provenance.precision, provenance.digest)
    forward = probed_forward(engine.model, engine.forward, family)
    if config.training.compile:
        compile_layers(engine.model, device)
    with exact_products():
        padded = padded_because(engine.model, forward.compute, forward.arguments, config.training.packing, engine.gather)
    if adapted_folder(located.request) is not None and Export.ADAPTER in config.exports:
        findings = (*findings, ADAPTER_NEEDS_STAGE)
    always = config.training.gradient_checkpointing is GradientCheckpointing.ALWAYS
    return Loaded(engine, forward, located, tokenizer, precision, provenance, padded, family, names, always, findings)


def trainable_model(
    config: TrainConfig, family: Family, located: LocatedModel, dtype: torch.dtype, device: torch.device
) -> tuple[Any, WeightNames]:
    """Load the weights and apply the job's method, such as LoRA, with the adapters' arithmetic fused; return which weights were new."""
    model, names = load_with_names(located, dtype, family, quantization_of(config.method), device, seed=config.training.seed)
    give_back_freed_memory()  # what was gathered or converted tensor by tensor, between what is kept
    trained = apply_method(model, config.method, config.regularization, config.training.seed, family)
    fuse_adapters(trained)
    if config.training.gradient_checkpointing is GradientCheckpointing.ALWAYS:
        recompute_activations(trained)
    return trained, names


def weight_findings(model: Any, config: TrainConfig, names: WeightNames, *, drawn: bool) -> tuple[str, ...]:
    """Return what the report has to say of new weights, and of weights that others are too."""
    findings = tied_findings(model, config.method, config.training)
    if names.new and not drawn:  # of a random model all are
        shown, more = names.new[:NAMED], len(names.new) - NAMED
        rest = f" and {more} more" if more > 0 else ""
        findings = (*findings, f"model: the weights have no {', '.join(shown)}{rest}: drawn from training.seed")
    return findings
