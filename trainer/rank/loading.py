"""What a run begins with: tokenizer and model on this node, with the engine around the model.

Reads the model's files. Test: tests/trainer/rank/test_results.py.
"""

import logging
from dataclasses import dataclass
from typing import Any

import torch

from finetune.api.record import ModelProvenance
from finetune.api.sections import Precision
from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine
from trainer.engine.factory import build_engine
from trainer.engine.precision import exact_products, precision_of, set_matrix_products, weights_dtype
from trainer.model.compiling import compile_layers
from trainer.model.load import load_model, provenance_of
from trainer.model.location import LocatedModel, locate
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.model.packing import padded_because
from trainer.model.quantization import quantization_of
from trainer.model.recompute import recompute_activations
from trainer.model.spill import give_back_freed_memory
from trainer.objectives.base import Forward, probed_forward
from trainer.objectives.family import Family
from trainer.preflight.inputs import Inputs, tokenizer_for

logger = logging.getLogger(__name__)


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

    @property
    def packed(self) -> bool:
        """Whether the model reads packed rows."""
        return self.padded_because is None


def load(config: TrainConfig, inputs: Inputs) -> Loaded:
    """Load tokenizer and model, and wrap the model in an engine."""
    # Decided by the job's request: a worker without its own GPU may see those of others.
    device = torch.device("cuda", torch.cuda.current_device()) if config.workers.gpus_per_worker > 0 else torch.device("cpu")
    dtype, precision = weights_dtype(config, device), precision_of(config, device)
    set_matrix_products(precision, device)
    located = locate(inputs.located.pinned())
    tokenizer = tokenizer_for(inputs.task, located, inputs.template_time)
    engine = build_engine(config, lambda: trainable_model(config, inputs.task.objective.family, located, dtype, device), device)
    give_back_freed_memory()
    quantization = quantization_of(config.method)
    provenance = provenance_of(located, dtype, inputs.weights_digest, quantization) if engine.rank == 0 else None
    if provenance is not None:
        logger.info("weights of %s from %s, %s, %s", provenance.name, provenance.source, provenance.precision, provenance.digest)
    forward = probed_forward(engine.model, engine.forward, inputs.task.objective.family)
    if config.training.compile:
        compile_layers(engine.model, device)
    with exact_products():
        padded = padded_because(engine.model, forward.compute, forward.arguments, config.training.packing, engine.gather)
    return Loaded(engine, forward, located, tokenizer, precision, provenance, padded)


def trainable_model(config: TrainConfig, family: Family, located: LocatedModel, dtype: torch.dtype, device: torch.device) -> Any:
    """Load the weights and apply the job's method, such as LoRA, with the adapters' arithmetic fused."""
    model = load_model(located, dtype, family, quantization_of(config.method), device, seed=config.training.seed)
    give_back_freed_memory()  # what was gathered or converted tensor by tensor, between what is kept
    if config.training.gradient_checkpointing:
        model = recompute_activations(model)
    trained = apply_method(model, config.method, config.regularization, config.training.seed, family)
    fuse_adapters(trained)
    return trained
