"""Whether activations are recomputed in the backward pass where the job leaves it open: on GPUs without room for them.

Needed is counted, without a GPU, from a forward pass of the model on torch's meta device (model/activations.py), with the logits where
they exist whole; available is what the device has left once the engine is there, less gradients and optimizer slots that do not exist
yet. All ranks decide the same.
Test: tests/trainer/rank/test_recomputing.py.
"""

import logging
from dataclasses import replace

from finetune.api.sections import GradientCheckpointing
from finetune.api.tasks import ModelFamily
from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine
from trainer.engine.precision import DTYPES
from trainer.engine.room import has_room
from trainer.model.activations import activation_bytes, logits_bytes
from trainer.model.recompute import recompute_activations
from trainer.preflight.rehearsal import bare_model
from trainer.rank.loading import Loaded
from trainer.training.batches import AtOnce

logger = logging.getLogger(__name__)

MARGIN = 1.25
"""The estimate leaves out what is short-lived, the batch and the output layer's chunk, and memory is lost between blocks."""


def with_recomputation(config: TrainConfig, loaded: Loaded, at_once: AtOnce, longest_target: int) -> Loaded:
    """Return what is loaded with the decision in it, and have the model recompute if that is the decision. All ranks must call it.

    `longest_target` is that of an encoder-decoder's rows, in tokens.
    """
    if config.training.gradient_checkpointing is not GradientCheckpointing.AUTO:
        return loaded
    if not needs_recomputation(config, loaded, at_once, longest_target):
        return loaded
    try:
        recompute_activations(loaded.engine.model)
    except (ValueError, NotImplementedError) as error:
        logger.warning("training.gradientCheckpointing: memory may be short, and this model cannot recompute: %s", error)
        return loaded
    return replace(loaded, recomputes=True)


def needs_recomputation(config: TrainConfig, loaded: Loaded, at_once: AtOnce, longest_target: int) -> bool:
    """Return whether some rank's GPU has no room for the activations of its largest micro-batch; on CPUs no."""
    engine = loaded.engine
    if engine.device.type == "cpu":
        return False
    passes = 2 if config.regularization.r_drop_alpha else 1  # R-Drop computes each row twice in one pass
    tokens = passes * (at_once.packed or at_once.tokens or 0)
    model, dtype = bare_model(loaded.located, config), DTYPES[loaded.precision]
    activations = activation_bytes(model, dtype, tokens, loaded.family)
    if activations is None:
        logger.info("training.gradientCheckpointing: what the activations need cannot be estimated for this model: not recomputed")
        return False
    scored = at_once.rows * longest_target if loaded.family.kind is ModelFamily.SEQ2SEQ else tokens
    logits = 0
    if loaded.forward.chunked_layer is None:
        logits = logits_bytes(model, dtype, scored, pulled=config.regularization.base_kl_weight > 0)
    needed = int(MARGIN * (activations + logits)) + bytes_to_come(engine)
    fits = has_room(needed, engine.device, engine.gather, trains_on=engine.device)
    logger.info(
        "training.gradientCheckpointing: activations of %d tokens need about %d MiB, logits %d MiB, with gradients and optimizer state"
        " %d MiB: %s",
        tokens, activations >> 20, logits >> 20, needed >> 20,
        "there is room, so they are kept" if fits else "too much, so they are recomputed",
    )  # fmt: skip
    return not fits


def bytes_to_come(engine: Engine) -> int:
    """Return what gradients and optimizer slots will take on this rank: a sharding engine has its slots from the start."""
    trained = engine.trained_elements()
    if engine.shards_state:
        return 4 * trained // engine.world_size
    return 4 * trained * (1 + len(engine.optimizer.slots))
