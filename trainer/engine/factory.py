"""Choose the engine that the configuration asks for. Test: tests/trainer/engine/test_invariance.py."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from torch import nn

from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine, EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.deepspeed import DeepspeedEngine, deepspeed_config, start_deepspeed
from trainer.engine.optimizer import Depths, optimizer_of
from trainer.engine.precision import DTYPES, precision_of, refuse_float16_offloaded, refuse_float16_on_this_cpu


def engine_settings(config: TrainConfig, depths: Depths | None = None) -> EngineSettings:
    """Return what the engine is built with; every rank has the same number of micro-batches in every step."""
    rows = config.training.global_batch_size // config.workers.world_size
    micro = min(config.training.micro_batch_size, rows)
    return EngineSettings(
        optimizer=optimizer_of(config, depths),
        gradient_clipping=config.training.gradient_clipping,
        micro_batch_size=micro,
        micro_batches_per_step=math.ceil(rows / micro),
    )


def build_engine(config: TrainConfig, load: Callable[[], nn.Module], device: torch.device, depths: Depths | None = None) -> Engine:
    """Load the model with `load` in the way that the engine needs, and return the engine around it; `depths` are as in `optimizer_of`.

    Raises InputError, before it loads, where this device cannot compute as the job asks.
    """
    settings, dtype = engine_settings(config, depths), DTYPES[precision_of(config, device)]
    deepspeed = config.workers.deepspeed
    if deepspeed is None:
        return DdpEngine(load(), settings, device, dtype=dtype)
    refuse_float16_on_this_cpu(deepspeed, dtype, device)
    refuse_float16_offloaded(deepspeed, dtype)
    start_deepspeed(device)
    guard: Any = None
    if deepspeed.zero_stage == 3:
        # While this object lives, from_pretrained shards each weight as it is read instead of holding the whole model.
        from transformers.integrations import HfDeepSpeedConfig

        world_size = torch.distributed.get_world_size()
        guard = HfDeepSpeedConfig(deepspeed_config(deepspeed, settings, device, dtype=dtype, world_size=world_size))
    engine = DeepspeedEngine(load(), deepspeed, settings, device, dtype=dtype)
    del guard
    return engine
