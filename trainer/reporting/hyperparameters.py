"""The settings that a run used, with the defaults that the job left out filled in.

Test: tests/trainer/reporting/test_hyperparameters.py.
"""

from typing import Any

from finetune.api.evaluation import Generation
from finetune.api.metrics import METRICS, Needs
from finetune.api.sections import Packing, Precision
from finetune.api.tasks import Route
from finetune.api.trainconfig import TrainConfig
from trainer.engine.optimizer import optimizer_of
from trainer.model.lora import ALL_LINEAR


def hyperparameters(
    config: TrainConfig, route: Route, precision: Precision, *, packed: bool, validation_every: int | None
) -> dict[str, Any]:
    """Return method, training (with the seed), regularization, augmentation, evaluation and distribution in wire form.

    `validation_every` is the number of steps between validations; None without validation rows.
    """
    names = {"method", "training", "regularization", "augmentation", "evaluation", "workers"}
    used: dict[str, Any] = config.model_dump(mode="json", by_alias=True, include=names)
    used["distributed"] = used.pop("workers")
    used["training"]["precision"] = precision.value
    used["training"]["packing"] = (Packing.ALWAYS if packed else Packing.NEVER).value
    used["evaluation"]["everySteps"] = validation_every
    used["evaluation"]["metrics"] = [name.value for name in config.test_metrics(route)]
    used["evaluation"]["bestMetric"] = config.judged_by(route).value
    generation = (config.evaluation.generation or Generation()).model_dump(mode="json", by_alias=True)
    measured = (*config.test_metrics(route), *config.validated_metrics(route))
    generates = any(METRICS[name].needs is Needs.GENERATED_TEXT for name in measured)
    used["evaluation"]["generation"] = generation if generates else None
    if (stopping := used["regularization"]["earlyStopping"]) is not None:
        stopping["metric"] = config.watched(route).value
    if config.method.lora is not None and config.method.lora.target_modules is None:
        used["method"]["lora"]["targetModules"] = ALL_LINEAR
    used["optimizer"] = optimizer_of(config).describe()
    return used
