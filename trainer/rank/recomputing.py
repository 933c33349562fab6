"""Whether activations are recomputed in the backward pass where the job leaves it open: on GPUs without room for them.

Needed is counted, without a GPU, from a forward pass of the model on torch's meta device (model/activations.py); available is what
the device has left once the engine is there, less gradients and optimizer slots that do not exist yet. All ranks decide the same.
Test: tests/trainer/rank/test_recomputing.py.
"""

import logging
from dataclasses import replace
from typing import Any

from finetune.api.sections import GradientCheckpointing
from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine
from trainer.engine.precision import DTYPES
from trainer.engine.room import has_room
from trainer.model.activations import activation_bytes
from trainer.model.recompute import recompute_activations
from trainer.preflight.rehearsal import bare_model
from trainer.rank.loading import Loaded
from trainer.training.batches import AtOnce

logger = logging.getLogger(__name__)

MARGIN = 1.25
"""The estimate leaves out what is short-lived, the batch and the output layer's chunk, and memory is lost between blocks."""


def with_recomputation(config: TrainConfig, loaded: Loaded, at_once: AtOnce) -> Loaded:
    """Return what is loaded with the decision in it, and have the model recompute if that is the decision. All ranks must call it."""
    if config.training.gradient_checkpointing is not GradientCheckpointing.AUTO:
        return loaded
    if not needs_recomputation(config, loaded, at_once):
        return loaded
    model: Any = loaded.engine.model
    try:
        recompute_activations(model.get_base_model() if hasattr(model, "get_base_model") else model)
    except (ValueError, NotImplementedError) as error:
        logger.warning("training.gradientCheckpointing: memory may be short, and this model cannot recompute: %s", error)
        return loaded
    return replace(loaded, recomputes=True)


def needs_recomputation(config: TrainConfig, loaded: Loaded, at_once: AtOnce) -> bool:
    """Return whether some rank's GPU has no room for the activations of its largest micro-batch; on CPUs no."""
    engine = loaded.engine
    if engine.device.type == "cpu":
        return False
    tokens = at_once.packed or at_once.tokens or 0
    activations = activation_bytes(bare_model(loaded.located, config), DTYPES[loaded.precision], tokens, loaded.family)
    if activations is None:
        logger.info("training.gradientCheckpointing: what the activations need cannot be estimated for this model: not recomputed")
        return False
    needed = int(MARGIN * activations) + bytes_to_come(engine)
    fits = has_room(needed, engine.device, engine.gather, trains_on=engine.device)
    logger.info(
        "training.gradientCheckpointing: activations of %d tokens need about %d MiB, with gradients and optimizer state %d MiB: %s",
        tokens, activations >> 20, needed >> 20, "there is room, so they are kept" if fits else "too much, so they are recomputed",
    )  # fmt: skip
    return not fits


def bytes_to_come(engine: Engine) -> int:
    """Return what gradients and optimizer slots will take on this rank: a sharding engine has its slots from the start."""
    trained = engine.trained_elements()
    if engine.shards_state:
        return 4 * trained // engine.world_size
    return 4 * trained * (1 + len(engine.optimizer.slots))
