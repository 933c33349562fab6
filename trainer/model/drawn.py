"""A model whose weights are all random: the control that shows what pre-training gives. No weight file is read, nor needed.

Test: tests/trainer/model/test_drawn.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, GenerationConfig, PreTrainedModel
from transformers.integrations import deepspeed as sharding

from trainer.objectives.family import Family, configured

GENERATION = "generation_config.json"


def drawn_model(folder: Path, dtype: torch.dtype, family: Family, seed: int) -> PreTrainedModel:
    """Return a model of the folder's configuration in `dtype`, drawn by its own initializer from `seed`; other draws are as without it.

    Drawn in float32, so that the numbers do not depend on the type, and whole, also where ranks will share it: shards could not be drawn.
    Raises what transformers raises for a configuration that it cannot use.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.random.fork_rng(), _whole():
        torch.manual_seed(seed)
        auto_class: Any = getattr(transformers, family.auto_class)
        model: PreTrainedModel = auto_class.from_config(configured(config, family), dtype=torch.float32, trust_remote_code=False)
    if model.can_generate() and (folder / GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model.to(dtype=dtype).eval()


@contextmanager
def _whole() -> Iterator[None]:
    """Have transformers build a model as if DeepSpeed's stage 3 were not there."""
    before = sharding._hf_deepspeed_config_weak_ref
    sharding._hf_deepspeed_config_weak_ref = None
    try:
        yield
    finally:
        sharding._hf_deepspeed_config_weak_ref = before
