"""The files beside the weights in every exported folder: tokenizer, generation settings, README and the record of the base.

Test: tests/trainer/model/test_exporter.py.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from finetune.api.record import ModelProvenance
from trainer.chat.turnend import stop_ids
from trainer.model.location import LocatedModel
from trainer.objectives.family import Family

WEIGHTS_RECORD, CARD = "base-weights.json", "README.md"


@dataclass(frozen=True)
class Origin:
    """What an export needs besides the trained tensors: the base model, its tokenizer, and the record of its weights."""

    located: LocatedModel
    tokenizer: PreTrainedTokenizerBase
    provenance: ModelProvenance
    job: str
    """Name of the job, for the reader of the README."""
    dtype: torch.dtype
    """Type that the base weights were held in."""
    family: Family


def write_beside(folder: Path, origin: Origin, model: Any, card: str) -> None:
    """Write everything but the weights into an exported folder; `model` supplies its base's generation settings."""
    origin.tokenizer.save_pretrained(folder)  # with its chat template
    generation_settings(model, origin.tokenizer).save_pretrained(folder)
    record = json.dumps(origin.provenance.to_wire(), indent=2, ensure_ascii=False)
    (folder / WEIGHTS_RECORD).write_text(record + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")


def generation_settings(model: Any, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Return the base model's settings with every token that ends an answer, so that generation stops where training taught it to."""
    settings: GenerationConfig = copy.deepcopy(model.generation_config)
    stops = stop_ids(model, tokenizer)
    settings.eos_token_id = stops[0] if len(stops) == 1 else stops or None
    if not settings.do_sample:
        # They have no effect without sampling, and transformers refuses to write settings that contain them.
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"):
            setattr(settings, name, None)
    return settings
