"""The kinds of models that objectives train: how they are loaded, adapted and exported. Tests: tests/trainer/model/test_load.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One kind of model."""

    name: str
    """For messages, such as `causal language model`."""
    auto_class: str
    """The class of transformers that loads it, such as `AutoModelForCausalLM`."""
    peft_task: str
    """PEFT's task type, such as `CAUSAL_LM`."""
    head: tuple[str, ...] = ()
    """Modules that start without weights of the base model; they are trained whole and saved with the adapter."""


CAUSAL_LM = Family("causal language model", "AutoModelForCausalLM", "CAUSAL_LM")
