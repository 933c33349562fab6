"""The settings that a run used, with the defaults that the job left out filled in.

Test: tests/trainer/reporting/test_hyperparameters.py.
"""

from typing import Any

from finetune.api.sections import Generation, Packing, Precision
from finetune.api.tasks import TASKS
from finetune.api.trainconfig import TrainConfig
from trainer.engine.optimizer import optimizer_of
from trainer.model.lora import ALL_LINEAR


def hyperparameters(config: TrainConfig, *, bfloat16: bool, packed: bool, validation_every: int | None) -> dict[str, Any]:
    """Return method, training (with the seed), regularization, augmentation, evaluation and distribution in wire form.

    `validation_every` is the number of steps between validations; None without validation rows.
    """
    names = {"method", "training", "regularization", "augmentation", "evaluation", "workers"}
    used: dict[str, Any] = config.model_dump(mode="json", by_alias=True, include=names)
    used["distributed"] = used.pop("workers")
    used["training"]["precision"] = (Precision.BFLOAT16 if bfloat16 else Precision.FLOAT32).value
    used["training"]["packing"] = (Packing.ALWAYS if packed else Packing.NEVER).value
    used["evaluation"]["everySteps"] = validation_every
    used["evaluation"]["metrics"] = [name.value for name in config.evaluation.metrics_of(config.task)]
    generation = (config.evaluation.generation or Generation()).model_dump(mode="json", by_alias=True)
    used["evaluation"]["generation"] = generation if config.evaluation.text_metrics_of(config.task) else None
    if (stopping := used["regularization"]["earlyStopping"]) is not None:
        stopping["metric"] = stopping["metric"] or TASKS[config.task].score.value
    if config.method.lora is not None and config.method.lora.target_modules is None:
        used["method"]["lora"]["targetModules"] = ALL_LINEAR
    used["optimizer"] = optimizer_of(config).describe()
    return used
