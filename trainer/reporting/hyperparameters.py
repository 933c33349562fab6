"""The settings that a run used, with the defaults that the job left out filled in.

Test: tests/trainer/reporting/test_hyperparameters.py.
"""

from typing import Any

from finetune.api.evaluation import Generation
from finetune.api.metrics import METRICS, Needs
from finetune.api.sections import DECAY_RATIO, GradientCheckpointing, Packing, Precision, Scheduler
from finetune.api.tasks import Route
from finetune.api.trainconfig import TrainConfig
from trainer.engine.optimizer import optimizer_of
from trainer.model.targets import ALL_LINEAR


def hyperparameters(
    config: TrainConfig, route: Route, precision: Precision, *, packed: bool, validation_every: int | None, recomputes: bool = False
) -> dict[str, Any]:
    """Return method, training (with the seed), regularization, augmentation, evaluation and distribution in wire form.

    `validation_every` is the number of steps between validations; None without validation rows.
    """
    names = {"method", "training", "regularization", "augmentation", "evaluation", "workers"}
    used: dict[str, Any] = config.model_dump(mode="json", by_alias=True, include=names)
    used["distributed"] = used.pop("workers")
    used["training"]["precision"] = precision.value
    used["training"]["packing"] = (Packing.ALWAYS if packed else Packing.NEVER).value
    used["training"]["gradientCheckpointing"] = (GradientCheckpointing.ALWAYS if recomputes else GradientCheckpointing.NEVER).value
    if config.training.scheduler is Scheduler.WARMUP_STABLE_DECAY and config.training.decay_ratio is None:
        used["training"]["decayRatio"] = DECAY_RATIO
    used["evaluation"]["everySteps"] = validation_every
    used["evaluation"]["metrics"] = [name.value for name in config.test_metrics(route)]
    used["evaluation"]["bestMetric"] = config.judged_by(route).value
    if config.augmentation is not None:
        used["augmentation"]["augmentedShare"] = config.augmentation.share
    generation = (config.evaluation.generation or Generation()).model_dump(mode="json", by_alias=True)
    measured = (*config.test_metrics(route), *config.validated_metrics(route))
    generates = any(METRICS[name].needs is Needs.GENERATED_TEXT for name in measured)
    used["evaluation"]["generation"] = generation if generates else None
    if (stopping := used["regularization"]["earlyStopping"]) is not None:
        stopping["metric"] = config.watched(route).value
    for method in ("lora", "osf"):
        if used["method"][method] is not None and used["method"][method]["targetModules"] is None:
            used["method"][method]["targetModules"] = ALL_LINEAR
    used["optimizer"] = optimizer_of(config).describe()
    return used
