"""Choose the engine that the configuration asks for. Test: tests/trainer/engine/test_invariance.py."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from torch import nn

from finetune.api.sections import Precision
from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine, EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.deepspeed import DeepspeedEngine, deepspeed_config, start_deepspeed
from trainer.engine.optimizer import optimizer_of


def engine_settings(config: TrainConfig) -> EngineSettings:
    """Return what the engine is built with; every rank has the same number of micro-batches in every step."""
    rows = config.training.global_batch_size // config.workers.world_size
    micro = min(config.training.micro_batch_size, rows)
    return EngineSettings(
        optimizer=optimizer_of(config),
        gradient_clipping=config.training.gradient_clipping,
        micro_batch_size=micro,
        micro_batches_per_step=math.ceil(rows / micro),
    )


def uses_bfloat16(config: TrainConfig, device: torch.device) -> bool:
    """Return whether forward and backward run in bfloat16: by configuration, or automatically on a GPU that supports it."""
    if config.training.precision is Precision.AUTO:
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.training.precision is Precision.BFLOAT16


def weights_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Return the type to load the weights in.

    bfloat16 where they are frozen (LoRA) or DeepSpeed keeps float32 masters of them (stages 1 to 3). Without masters a
    trained weight has to be float32: in bfloat16 a small update of it would be rounded away.
    """
    masters = config.workers.deepspeed is not None and config.workers.deepspeed.zero_stage > 0
    held = uses_bfloat16(config, device) and (masters or config.method.lora is not None)
    return torch.bfloat16 if held else torch.float32


def build_engine(config: TrainConfig, load: Callable[[], nn.Module], device: torch.device) -> Engine:
    """Load the model with `load` in the way that the engine needs, and return the engine around it."""
    settings, bfloat16 = engine_settings(config), uses_bfloat16(config, device)
    deepspeed = config.workers.deepspeed
    if deepspeed is None:
        return DdpEngine(load(), settings, device, bfloat16=bfloat16)
    start_deepspeed(device)
    guard: Any = None
    if deepspeed.zero_stage == 3:
        # While this object lives, from_pretrained shards each weight as it is read instead of holding the whole model.
        from transformers.integrations import HfDeepSpeedConfig

        world_size = torch.distributed.get_world_size()
        guard = HfDeepSpeedConfig(deepspeed_config(3, settings, device, bfloat16=bfloat16, world_size=world_size))
    engine = DeepspeedEngine(load(), deepspeed.zero_stage, settings, device, bfloat16=bfloat16)
    del guard
    return engine
