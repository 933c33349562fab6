"""FineTuneJobSpec: what the user writes. The CRD is generated from these models by finetune.api.crd.

The sections that the trainer reads too are in finetune.api.sections and the modules that it names; here are those that only a
cluster knows. A field is in the schema only when the code honors it. Tests: tests/finetune/api/.
"""

import re
from typing import Annotated, Literal

from pydantic import Field

from finetune.api.adaptation import DomainAdaptation
from finetune.api.augmentation import Augmentation
from finetune.api.base import Rule, WireModel
from finetune.api.earlierjobs import ContinueFrom
from finetune.api.evaluation import Evaluation
from finetune.api.rules import (
    ADAPTER_NEEDS_LORA,
    BASE_KL_NEEDS_LORA,
    COMPILES_PLAIN_LAYERS,
    CORPUS_BEFORE_A_TASK,
    CORPUS_FROM_THE_BEGINNING,
    DORA_NEEDS_PLAIN_WEIGHTS,
    DORA_NEEDS_WHOLE_WEIGHTS,
    LAYERWISE_NEEDS_FULL,
    OFFLOAD_NEEDS_GPUS,
    OSF_DECAYS_NOTHING,
    OSF_NEEDS_WHOLE_WEIGHTS,
    QUANTIZATION_NEEDS_WHOLE_WEIGHTS,
    R_DROP_NEEDS_CHOICES,
    RANDOM_NEEDS_FULL,
    TASK_RULES,
)
from finetune.api.runpolicy import RunPolicy
from finetune.api.sections import CheckpointPolicy, Deepspeed, Export, Method, Regularization, Training
from finetune.api.sources import OBJECT_NAME, ClaimPath, Data, ModelSource
from finetune.api.tasks import TASKS, TaskName

GROUP = "finetune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "FineTuneJob"
PLURAL = "finetunejobs"
SHORT_NAME = "ftj"

CPU_QUANTITY = r"^([1-9][0-9]*(m|[.][0-9]{1,3})?|0[.][0-9]{0,2}[1-9])$"
MEMORY_QUANTITY = r"^[1-9][0-9]*([.][0-9]+)?(M|G|T|Mi|Gi|Ti)$"
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$"


class Distributed(WireModel):
    """How training is spread over workers."""

    workers: Annotated[int, Field(ge=1, le=1024)] = Field(1, description="Worker pods; each has the resources below.")
    deepspeed: Deepspeed | None = Field(None, description="Shard with DeepSpeed; without it PyTorch DistributedDataParallel is used.")


class Toleration(WireModel):
    """A taint that worker pods accept; as in a pod."""

    key: str | None = Field(None, max_length=317, pattern=LABEL_KEY, description="Taint key.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Relation of key and value.")
    value: str | None = Field(None, max_length=63, pattern=LABEL_VALUE, description="Taint value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(None, description="Effect that is tolerated.")
    toleration_seconds: int | None = Field(None, description="How long a NoExecute taint is tolerated.")

    rules = (
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            lambda t: t.key is not None or t.operator == "Exists",
            "tolerations: give a key, or operator Exists to tolerate every taint",
        ),
        Rule(
            "!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
            lambda t: t.value is None or t.operator in (None, "Equal"),
            "tolerations: operator Exists goes without a value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
            "tolerations: tolerationSeconds goes with effect NoExecute only",
        ),
    )


class Resources(WireModel):
    """Resources of one worker pod."""

    cpu: str = Field("1", max_length=32, description="CPU request; there is no CPU limit.")
    memory: str = Field("4Gi", max_length=32, description="Memory request and limit.")
    gpus: Annotated[int, Field(ge=0, le=64)] = Field(0, description="GPUs; one rank of training per GPU.")
    node_selector: dict[str, Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]] | None = Field(
        None, max_length=32, description="Labels of the nodes that workers may run on; by default the administrator's, {} is none."
    )
    tolerations: list[Toleration] | None = Field(
        None, max_length=32, description="Taints that workers accept; by default the administrator's, [] is none."
    )
    priority_class_name: str | None = Field(
        None, max_length=253, pattern=OBJECT_NAME, description="PriorityClass of the pods; by default the administrator's."
    )

    rules = (
        Rule(
            f"self.cpu.matches('{CPU_QUANTITY}')",
            lambda r: re.fullmatch(CPU_QUANTITY, r.cpu) is not None,
            'resources.cpu: give CPUs above zero, such as "4", "0.5" or "500m"',
        ),
        Rule(
            f"self.memory.matches('{MEMORY_QUANTITY}')",
            lambda r: re.fullmatch(MEMORY_QUANTITY, r.memory) is not None,
            "resources.memory: give an amount with its unit, such as 16Gi or 800Mi",
        ),
        Rule(
            f"!has(self.nodeSelector) || self.nodeSelector.all(key, key.size() <= 317 && key.matches('{LABEL_KEY}'))",
            lambda r: all(len(key) <= 317 and re.fullmatch(LABEL_KEY, key) for key in r.node_selector or {}),
            "resources.nodeSelector: a key is not a label's name, such as kubernetes.io/arch",
        ),
    )


class Output(WireModel):
    """Where checkpoints, report and model are written: <path>/<job name>-<start of its UID>, a folder of the job's own."""

    persistent_volume_claim: ClaimPath = Field(description="Claim and folder inside it.")
    export: list[Export] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="Forms of the model. Default: adapter with lora, merged with full and osf.",
    )


BATCH_DIVIDES = Rule(
    "self.training.globalBatchSize % ((has(self.distributed) ? self.distributed.workers : 1)"
    " * (has(self.resources) && self.resources.gpus > 0 ? self.resources.gpus : 1)) == 0",
    lambda spec: (
        spec.training.global_batch_size
        % ((spec.distributed.workers if spec.distributed else 1) * max(1, spec.resources.gpus if spec.resources else 0))
        == 0
    ),
    "training.globalBatchSize: must be a multiple of the number of ranks, distributed.workers x max(1, resources.gpus)",
)


class FineTuneJobSpec(WireModel):
    """What to fine-tune, on what, and how. Immutable except for runPolicy.suspend, maxAttempts, deadlines and time to live."""

    task: TaskName = Field(
        description=f"What the model learns to do. {'; '.join(f'{name}: {facts.description}' for name, facts in TASKS.items())}."
    )
    model: ModelSource = Field(description="The pre-trained model.")
    data: Data = Field(description="Rows to train on and to measure on.")
    method: Method = Field(description="Which weights are trained.")
    training: Training = Field(description="How long and how to train.")
    regularization: Regularization | None = Field(None, description="Settings against overfitting.")
    augmentation: Augmentation | None = Field(
        None,
        description="How training texts are varied, differently in every epoch: only what the model reads of a row. chat: the user's"
        " turns; text-generation: the prompt; translation: the source; transcript-correction: the hypothesis; question-answering: the"
        " question; text-classification: the text; language-modeling: the whole text, which is then also the target. System messages,"
        " answers, classes and contexts stay as they are.",
    )
    evaluation: Evaluation | None = Field(None, description="What is measured, and when.")
    domain_adaptation: DomainAdaptation | None = Field(
        None, description="How the model adapts to a domain, and what keeps it from forgetting others."
    )
    distributed: Distributed | None = Field(None, description="How training is spread over workers.")
    resources: Resources | None = Field(None, description="Resources of one worker pod.")
    checkpoint: CheckpointPolicy | None = Field(None, description="When training state is saved.")
    output: Output = Field(description="Where results are written.")
    continue_from: ContinueFrom | None = Field(
        None,
        description="Continue another job from its last checkpoint and optimizer state; epochs or maxSteps must exceed that job's. Task,"
        " model, data, method and all else but the length of training, evaluation and checkpoints must be that job's. The"
        " learning rate follows the schedule of the new length.",
    )
    run_policy: RunPolicy | None = Field(None, description="How the controller runs the job.")

    rules = (
        ADAPTER_NEEDS_LORA,
        OFFLOAD_NEEDS_GPUS,
        QUANTIZATION_NEEDS_WHOLE_WEIGHTS,
        DORA_NEEDS_WHOLE_WEIGHTS,
        DORA_NEEDS_PLAIN_WEIGHTS,
        OSF_NEEDS_WHOLE_WEIGHTS,
        OSF_DECAYS_NOTHING,
        RANDOM_NEEDS_FULL,
        LAYERWISE_NEEDS_FULL,
        COMPILES_PLAIN_LAYERS,
        BASE_KL_NEEDS_LORA,
        R_DROP_NEEDS_CHOICES,
        CORPUS_BEFORE_A_TASK,
        CORPUS_FROM_THE_BEGINNING,
        *TASK_RULES,
        BATCH_DIVIDES,
    )
