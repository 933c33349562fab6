"""The files beside the weights in every exported folder: tokenizer, generation settings, README and the record of the base.

Tests: tests/trainer/model/test_beside.py, tests/trainer/model/test_exporter.py.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from finetune.api.record import ModelProvenance
from finetune.api.sections import Quantization
from finetune.api.tasks import TaskName
from trainer.chat.turnend import stop_ids
from trainer.model.cardcode import TEXT
from trainer.model.cardmetadata import CARD
from trainer.model.location import LocatedModel
from trainer.model.weights import WEIGHTS_RECORD
from trainer.objectives.family import Family, decoder_start_of

CONFIGURATION = ("config.json", "tokenizer_config.json", "generation_config.json")
NAMES_OF_CODE = frozenset({"auto_map", "custom_generate", "custom_pipelines", "trust_remote_code"})
"""Members of configuration that say which code of a repository is the model's."""


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
    task: TaskName
    """The one that it was trained for, which the commands that use the model read again."""
    quantization: Quantization | None = None
    """How the base weights were held in training and measuring; `dtype` is then that of the others."""
    known: tuple[str, ...] = ()
    """What the task knew of the training rows, such as the names of the classes; recorded with it."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """As in report.json, as far as it is known. Figures are those of the exported weights, or left out."""
    seed: int | None = None
    """What the run drew from: a new head of the base begins with it."""
    languages: tuple[tuple[str, str], ...] = ()
    """From and into which the training data translates."""
    wording: str | None = TEXT
    """What the task writes around a text that it asks about; None where more than words has to be given."""


def write_beside(folder: Path, origin: Origin, model: Any, card: str) -> None:
    """Write everything but the weights into an exported folder; `model` supplies its base's generation settings."""
    origin.tokenizer.save_pretrained(folder)  # with the chat template that it was trained with, if any
    if model.can_generate():
        generation_settings(model, origin.tokenizer).save_pretrained(folder)
    name_no_code(folder)
    trained = {"task": origin.task.value, "known": list(origin.known), "seed": origin.seed, "languages": list(origin.languages)}
    record = json.dumps({**origin.provenance.to_wire(), **trained}, indent=2, ensure_ascii=False)
    (folder / WEIGHTS_RECORD).write_text(record + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")


def name_no_code(folder: Path) -> None:
    """Take out of the configuration where the base has its code, which transformers passes on: the weights were trained without it."""
    for file in (folder / name for name in CONFIGURATION):
        saved = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        without = _without_code(saved)
        if without != saved:
            file.write_text(json.dumps(without, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_code(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, and those of the models that a model is made of, without the members that name code."""
    return {
        name: _without_code(value) if isinstance(value, dict) and "model_type" in value else value
        for name, value in settings.items()
        if name not in NAMES_OF_CODE
    }


def generation_settings(model: Any, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Return the base model's settings with every token that ends an answer, so that generation stops where training taught it to."""
    settings: GenerationConfig = copy.deepcopy(model.generation_config)
    stops = stop_ids(model, tokenizer)
    settings.eos_token_id = stops[0] if len(stops) == 1 else stops or None
    if model.config.is_encoder_decoder:
        settings.decoder_start_token_id = decoder_start_of(model.config)
    if not settings.do_sample:
        # They have no effect without sampling, and transformers refuses to write settings that contain them.
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"):
            setattr(settings, name, None)
    return settings
