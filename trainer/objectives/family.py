"""Kinds of models that objectives train, and how they are loaded, adapted and exported. Tests: tests/trainer/model/test_load.py."""

from dataclasses import dataclass

from finetune.api.tasks import ModelFamily


@dataclass(frozen=True)
class Family:
    """One kind of model, by the names that transformers and PEFT use for it."""

    kind: ModelFamily
    """What a task's facts call it."""
    name: str
    """Name in messages, such as `causal language model`."""
    auto_class: str
    """The transformers class that loads it, such as `AutoModelForCausalLM`."""
    peft_task: str
    """PEFT's task type, such as `CAUSAL_LM`."""
    head: tuple[str, ...] = ()
    """Modules without weights in the base model; they are fully trained and saved with the adapter."""


CAUSAL_LM = Family(ModelFamily.CAUSAL, "causal language model", "AutoModelForCausalLM", "CAUSAL_LM")
