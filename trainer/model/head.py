"""The head of an encoder: the layers on top of the base model, which a task trains for itself.

Where a model's weights have a head for the same job it is kept; otherwise it is new, and initialized from the job's seed. Needs no
torch to say which. Test: tests/trainer/model/test_head.py.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from finetune.api.adaptation import BUDGET
from finetune.api.errors import InputError
from trainer.objectives.family import Family

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

POOLER = "pooler"
"""transformers' name of the layer between the base and a head of classes, which some weights lack: it belongs to the head."""
LABELS, PROBLEM = "id2label", "problem_type"
CLASSES, MASKED = "AutoModelForSequenceClassification", "AutoModelForMaskedLM"


def has_head(configuration: "PreTrainedConfig", family: Family) -> bool:
    """Return whether weights with this configuration have the head that a job needs, for the same classes if it has classes."""
    return is_class_of(configuration, family) and not _other_labels(configuration, family)


def is_class_of(configuration: "PreTrainedConfig", family: Family) -> bool:
    """Return whether weights with this configuration were saved by the class of models that a family is loaded as."""
    from transformers.models.auto import modeling_auto as known

    mappings = {
        CLASSES: known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "AutoModelForQuestionAnswering": known.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        MASKED: known.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    }
    wanted = {mappings[family.auto_class].get(configuration.model_type)}
    if family.auto_class == MASKED:  # the models of both objectives of BERT have its head too
        wanted.add(known.MODEL_FOR_PRETRAINING_MAPPING_NAMES.get(configuration.model_type))
    return bool(wanted & set(configuration.architectures or ()))


def _other_labels(configuration: "PreTrainedConfig", family: Family) -> bool:
    if family.auto_class != CLASSES:  # others name their outputs, which are the same in every such model
        return False
    given = {int(number): name for number, name in (configuration.id2label or {}).items()}
    problem = getattr(configuration, PROBLEM, None)
    return given != family.settings[LABELS] or problem not in (None, family.settings.get(PROBLEM))


def head_findings(configuration: "PreTrainedConfig", family: Family) -> list[str]:
    """Report a head that is new, because then the base model's own figures mean nothing."""
    if has_wanted_head(configuration, family):
        return []
    why = _why_new(configuration, family)
    return [
        f"model: the layers on top of {configuration.model_type} are new, because {why}: they begin with random numbers from"
        " training.seed, so the base model's figures are those of guessing"
    ]


def refuse_new_head(configuration: "PreTrainedConfig", family: Family, base_kl_weight: float, budget_percent: float | None) -> None:
    """Raise InputError where the tuned model is to stay near a base whose head is new: it would stay near random answers."""
    if has_wanted_head(configuration, family):
        return
    problem = f"the layers on top of {configuration.model_type} are new, because {_why_new(configuration, family)}"
    if base_kl_weight:
        fix = "so its base answers at random; set it to 0, or give a model that was trained for this"
        raise InputError("regularization.baseKlWeight", problem, fix)
    if budget_percent is not None:
        why = "the untrained head makes the base perplexity meaningless as a limit"
        raise InputError(BUDGET, problem, f"{why}; remove it, or give a model that was trained to fill in words")


def has_wanted_head(configuration: "PreTrainedConfig", family: Family) -> bool:
    """Return whether a model begins with a head that was trained, as all but encoders do."""
    return not family.new_head or has_head(configuration, family)


def _why_new(configuration: "PreTrainedConfig", family: Family) -> str:
    return "its weights have one for other classes" if is_class_of(configuration, family) else "its weights have none"


def head_of(model: Any) -> list[str]:
    """Return the names of the modules with parameters on top of a model's base, such as classifier, and of its pooler."""
    prefix = model.base_model_prefix
    head = [name for name, module in model.named_children() if name != prefix and _has_parameters(module)]
    pooler = getattr(getattr(model, prefix, None), POOLER, None)
    return [*head, *([f"{prefix}.{POOLER}"] if pooler is not None and _has_parameters(pooler) else [])]


def own_modules(model: Any) -> list[str]:
    """Return the largest modules of the head that share no weights with the base, as the output layer of a tied model does."""
    head = head_of(model)
    inside = {id(parameter) for name in head for parameter in model.get_submodule(name).parameters()}
    outside = {
        id(parameter)
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not any(name.startswith(f"{part}.") for part in head) and id(parameter) in inside
    }
    return [found for name in head for found in _without(name, model.get_submodule(name), outside)]


def _without(name: str, module: Any, shared: set[int]) -> Iterator[str]:
    if not _has_parameters(module):
        return
    if not any(id(parameter) in shared for parameter in module.parameters()):
        yield name
        return
    for child, part in module.named_children():
        yield from _without(f"{name}.{child}", part, shared)


def _has_parameters(module: Any) -> bool:
    return any(True for _ in module.parameters())
