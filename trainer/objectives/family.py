"""Kinds of models that objectives train, and how they are loaded, adapted, tried and exported.

One ModelFamily may have several: an encoder gets another head for classes than for masked tokens. No torch at import. Tests:
tests/trainer/model/test_load.py, tests/trainer/objectives/test_family.py.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily

if TYPE_CHECKING:
    from torch import Tensor

PIPELINES: Mapping[str, str] = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForSeq2SeqLM": "text2text-generation",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForMaskedLM": "fill-mask",
}


@dataclass(frozen=True)
class Family:
    """One kind of model, by the names that transformers and PEFT use for it."""

    kind: ModelFamily
    """What a task's facts call it."""
    auto_class: str
    """The transformers class that loads it, such as `AutoModelForCausalLM`."""
    peft_task: str
    """PEFT's task type, such as `CAUSAL_LM`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Values of its configuration that the job decides, such as the names of the classes."""
    new_head: bool = False
    """Whether the layers on top of the base model are the job's own: where the weights lack them they are initialized from the job's
    seed, and with adapters they are fully trained and saved beside them."""

    @property
    def pipeline(self) -> str:
        """What the hub calls the use of such a model."""
        return PIPELINES[self.auto_class]

    @property
    def targets_follow(self) -> bool:
        """Whether a sample's targets follow what the model reads, as the tail of its tokens, instead of being part of it."""
        return self.kind is not ModelFamily.CAUSAL


CAUSAL_LM = Family(ModelFamily.CAUSAL, "AutoModelForCausalLM", "CAUSAL_LM")


def configured(config: Any, family: Family) -> Any:
    """Return a model's configuration with what the job decides in it; `config` is left as it is."""
    changed = copy.deepcopy(config)
    for name, value in family.settings.items():
        setattr(changed, name, value)
    return changed


def decoder_start_of(config: Any) -> int:
    """Return the token that an encoder-decoder's answers begin after; raises InputError where its configuration names none."""
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        problem = f"the config.json of this {config.model_type} model names no decoder_start_token_id, after which its answers begin"
        raise InputError("model", problem, "add it to config.json; most models begin with their padding or end token")
    return int(start)


def probe_inputs(family: Family, ids: "Tensor") -> dict[str, Any]:
    """Return the arguments of a forward pass that tries a model on any tokens, (rows, positions)."""
    if family.kind is ModelFamily.SEQ2SEQ:
        return {"input_ids": ids, "decoder_input_ids": ids, "use_cache": False}
    return {"input_ids": ids} if family.kind is ModelFamily.ENCODER else {"input_ids": ids, "use_cache": False}
