"""Loads the model that was found, in this process, ready to be used: on the GPU if there is one.

The weights of a recorded base are compared with their digest while torch is imported. Test: tests/trainer/using/test_loading.py.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from finetune.api.errors import InputError
from finetune.api.tasks import TASKS
from finetune.api.using import ChosenModel, WeightType
from trainer.engine.inference import Inference, OneProcess
from trainer.evaluation.beginning import context_length
from trainer.model.faults import first_line
from trainer.model.load import load_model
from trainer.model.location import ModelKind
from trainer.model.tokenizer import load_tokenizer
from trainer.objectives.family import Family
from trainer.preflight.architecture import configuration_of, family_of, task_for
from trainer.tasks.base import Task
from trainer.using.digests import Check
from trainer.using.found import MOVED, Found, base_of

DTYPES = {kind: getattr(torch, kind.value) for kind in WeightType}


@dataclass(frozen=True)
class Side:
    """One of the models that answer: tuned, or its base."""

    name: str
    engine: Inference
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    """Returns the context in which the engine's model is this one."""


@dataclass(frozen=True)
class Loaded:
    """A model in use."""

    task: Task[Any]
    tokenizer: Any
    tuned: Side
    base: Side | None = None
    """None unless it was asked for."""

    @property
    def sides(self) -> tuple[Side, ...]:
        """The base model, if it was asked for, and the tuned one."""
        return (self.tuned,) if self.base is None else (self.base, self.tuned)


def load(found: Found, chosen: ChosenModel, say: Callable[[str], None], *, base: bool = False, seed: int = 0) -> Loaded:
    """Load tokenizer and model, and with `base` its base too; `say` is told what was chosen for want of a record.

    A new head is drawn from the seed of the run that trained the model, else from `seed`.
    Raises InputError for what cannot be used.
    """
    with ThreadPoolExecutor(1) as aside:
        check = Check.begun(aside, found.located, found.digest, chosen)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype_on(device, chosen.dtype)
        of_tokenizer = found.located if found.adapter is None else replace(found.located, path=found.adapter, kind=ModelKind.FOLDER)
        tokenizer = load_tokenizer(of_tokenizer)
        task = task_of(found, chosen, tokenizer, say)
        task.prepare(tokenizer, None)
        family = task.objective.family
        seed = found.seed if found.seed is not None else seed
        model: Any = load_model(found.located, dtype, family, seed=seed)
        if found.adapter is not None:
            model = _adapted(model, found.adapter, chosen.field)
        tuned = Side("tuned", OneProcess(model, device))
        check.wait()
        return Loaded(task, tokenizer, tuned, _base(found, chosen, tuned, family, dtype, device, seed) if base else None)


def dtype_on(device: torch.device, wanted: WeightType | None) -> torch.dtype:
    """Return the type to hold and compute in: the one that was asked for, else as training does by default."""
    if wanted is not None:
        dtype: torch.dtype = DTYPES[wanted]
        return dtype
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def task_of(found: Found, chosen: ChosenModel, tokenizer: Any, say: Callable[[str], None]) -> Task[Any]:
    """Return the task to use the model for: the one that was asked for, that was trained, or that fits its kind and tokenizer."""
    configuration = configuration_of(found.located)
    if name := chosen.task or found.task:
        wanted = task_for(name, found.located, configuration)
        recorded = found.known if name == found.task else None
        return wanted.with_known(recorded) if recorded is not None else wanted.recalling(configuration)
    family = family_of(configuration)
    fitting = [task_for(name, found.located, configuration) for name, facts in TASKS.items() if family in facts.families]
    likely = [task for task in fitting if task.is_likely(tokenizer)]
    # A head for something else would be left out, and one without weights put in its place.
    task = next((task for task in likely if _has_head(configuration, task.objective.family)), next(iter(likely), None))
    if task is None:
        kind = configuration.model_type
        raise InputError(chosen.field, f"{kind} in {found.located.path} is of no kind that can be used", "give a model of another kind")
    say(f"nothing says what this model was trained for; it is used for {task.facts.name} (--task chooses another)")
    return task.recalling(configuration)


def _has_head(configuration: Any, family: Family) -> bool:
    """Return whether a model was saved with what transformers' class for this family adds, by its name, such as ForCausalLM."""
    return any(str(name).endswith(family.auto_class.removeprefix("AutoModel")) for name in configuration.architectures or ())


def new_tokens(model: Any, wanted: int | None, usual: int) -> int:
    """Return how many tokens an answer may have; InputError for so many that no prompt has room beside them."""
    context = context_length(model)
    if wanted is not None and wanted >= context:
        problem = f"{wanted} leaves no room for a prompt: the model reads {context} tokens, answer included"
        raise InputError("--max-new-tokens", problem, "give fewer")
    return wanted or min(usual, context // 2)


def _adapted(model: Any, folder: Path, field: str) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    from trainer.model.lora import peft_warnings_silenced

    try:
        with peft_warnings_silenced():
            return PeftModel.from_pretrained(model, folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        problem = f"the adapter in {folder} cannot be put on its base model: {first_line(error)}"
        raise InputError(field, problem, f"name the folder of the base that it was trained on with {MOVED}") from error


def _base(found: Found, chosen: ChosenModel, tuned: Side, family: Family, dtype: torch.dtype, device: torch.device, seed: int) -> Side:
    if found.adapter is not None:
        from trainer.model.lora import adapters_off

        return Side("base", tuned.engine, lambda: adapters_off(tuned.engine.model))
    if found.record is None:
        problem = f"nothing says which model {found.said} was made from"
        raise InputError("--base", problem, "leave it out; what was trained here says so in its folder")
    base = base_of(found.record, chosen)
    with ThreadPoolExecutor(1) as aside:
        check = Check.begun(aside, base.located, base.digest, chosen)
        side = Side("base", OneProcess(load_model(base.located, dtype, family, seed=seed), device))
        check.wait()
    return side
