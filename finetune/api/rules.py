"""Rules that span sections: they are at the whole spec. Those of one section are with its model.

What depends on the task is generated from the tables of tasks and metrics. Tests: tests/finetune/api/test_rules.py,
tests/integration/test_malformed_jobs.py.
"""

from collections.abc import Sequence
from typing import Any

from finetune.api.base import Rule
from finetune.api.metrics import MetricName, Needs
from finetune.api.sections import Export
from finetune.api.sources import Initialization
from finetune.api.tasks import TASKS, ModelFamily, TaskFacts, TaskName, in_words

ADAPTER_NEEDS_LORA = Rule(
    "!has(self.output.export) || !self.output.export.exists(e, e == 'adapter') || !has(self.method.full)",
    lambda value: value.output.export is None or Export.ADAPTER not in value.output.export or value.method.full is None,
    "output.export: adapter needs method.lora or method.osf; with method.full export merged",
)

WHOLE_WEIGHTS = "!has(self.distributed) || !has(self.distributed.deepspeed) || self.distributed.deepspeed.zeroStage < 3"


def _has_whole_weights(spec: Any) -> bool:
    return spec.distributed is None or spec.distributed.deepspeed is None or spec.distributed.deepspeed.zero_stage < 3


def _is_quantized(spec: Any) -> bool:
    return spec.method.lora is not None and spec.method.lora.quantization is not None


QUANTIZATION_NEEDS_WHOLE_WEIGHTS = Rule(
    f"!has(self.method.lora) || !has(self.method.lora.quantization) || {WHOLE_WEIGHTS}",
    lambda spec: not _is_quantized(spec) or _has_whole_weights(spec),
    "method.lora.quantization: ZeRO stage 3 cannot shard weights of 4 bits; set distributed.deepspeed.zeroStage to 2, or leave it out",
)
DORA_NEEDS_WHOLE_WEIGHTS = Rule(
    f"!has(self.method.lora) || !self.method.lora.useDora || {WHOLE_WEIGHTS}",
    lambda spec: spec.method.lora is None or not spec.method.lora.use_dora or _has_whole_weights(spec),
    "method.lora.useDora: the length of a row cannot be computed where ZeRO stage 3 shards the weights; set distributed.deepspeed.zeroStage"
    " to 2, or useDora to false",
)
DORA_NEEDS_PLAIN_WEIGHTS = Rule(
    "!has(self.method.lora) || !self.method.lora.useDora || !has(self.method.lora.quantization)",
    lambda spec: spec.method.lora is None or not spec.method.lora.use_dora or not _is_quantized(spec),
    "method.lora.useDora: not tried with quantized weights; leave method.lora.quantization out, or set useDora to false",
)
OSF_NEEDS_WHOLE_WEIGHTS = Rule(
    f"!has(self.method.osf) || {WHOLE_WEIGHTS}",
    lambda spec: spec.method.osf is None or _has_whole_weights(spec),
    "method.osf: weights that ZeRO stage 3 shards cannot be decomposed; set distributed.deepspeed.zeroStage to 2, or leave it out",
)
OSF_DECAYS_NOTHING = Rule(
    "!has(self.method.osf) || !has(self.regularization) || self.regularization.weightDecay == 0.0",
    lambda spec: spec.method.osf is None or spec.regularization is None or spec.regularization.weight_decay == 0,
    "regularization.weightDecay: with method.osf it would shrink the base model's weak directions, not what was learned; set it to 0",
)
RANDOM_NEEDS_FULL = Rule(
    "self.model.initialization != 'random' || has(self.method.full)",
    lambda spec: spec.model.initialization is not Initialization.RANDOM or spec.method.full is not None,
    "model.initialization: random weights are written nowhere, so no adapter could be put on them again; use method.full, or pretrained",
)
LAYERWISE_NEEDS_FULL = Rule(
    "self.training.layerwiseLearningRateDecay == 1.0 || has(self.method.full)",
    lambda spec: spec.training.layerwise_learning_rate_decay == 1 or spec.method.full is not None,
    "training.layerwiseLearningRateDecay: it is for weights that are trained themselves; use method.full, or set it to 1",
)
OFFLOAD_NEEDS_GPUS = Rule(
    "!has(self.distributed) || !has(self.distributed.deepspeed) || !has(self.distributed.deepspeed.offload)"
    " || (has(self.resources) && self.resources.gpus > 0)",
    lambda spec: (
        spec.distributed is None
        or spec.distributed.deepspeed is None
        or spec.distributed.deepspeed.offload is None
        or (spec.resources is not None and spec.resources.gpus > 0)
    ),
    "distributed.deepspeed.offload: without GPUs all state is in the worker's memory already; set resources.gpus, or leave offload out",
)


def _compiles(spec: Any) -> bool:
    sharded = spec.distributed is not None and spec.distributed.deepspeed is not None
    return not spec.training.compile or not (sharded or _is_quantized(spec))


COMPILES_PLAIN_LAYERS = Rule(
    "!self.training.compile || (!(has(self.distributed) && has(self.distributed.deepspeed))"
    " && !(has(self.method.lora) && has(self.method.lora.quantization)))",
    _compiles,
    "training.compile: not tried with DeepSpeed or quantized weights; leave distributed.deepspeed and method.lora.quantization out, or set"
    " compile to false",
)


BASE_KL_NEEDS_LORA = Rule(
    "!has(self.regularization) || self.regularization.baseKlWeight == 0.0 || has(self.method.lora)",
    lambda spec: spec.regularization is None or spec.regularization.base_kl_weight == 0 or spec.method.lora is not None,
    "regularization.baseKlWeight: the base model is the one without its adapters, so it needs method.lora; set it to 0 with method.full"
    " and with method.osf, where it was not tried",
)

COMPARING_TWO_PASSES = tuple(
    name
    for name, facts in TASKS.items()
    if any(set(route.measured_from) & {Needs.CLASSES, Needs.SPANS} for route in facts.routes if route.family is ModelFamily.ENCODER)
)
"""Tasks in which an encoder chooses one of few things, where R-Drop is defined."""
CORPUS = "has(self.domainAdaptation) && has(self.domainAdaptation.corpus)"


def _has_corpus(spec: Any) -> bool:
    return spec.domain_adaptation is not None and spec.domain_adaptation.corpus is not None


CORPUS_BEFORE_A_TASK = Rule(
    f"self.task != 'language-modeling' || !({CORPUS})",
    lambda spec: spec.task is not TaskName.LANGUAGE_MODELING or not _has_corpus(spec),
    "domainAdaptation.corpus: the texts that task language-modeling learns are data.train; name them there",
)
CORPUS_FROM_THE_BEGINNING = Rule(
    f"!has(self.continueFrom) || !({CORPUS})",
    lambda spec: spec.continue_from is None or not _has_corpus(spec),
    "domainAdaptation.corpus: a job that continues another one learns no corpus first; begin with that job's model (model.fineTuneJob)",
)

R_DROP_NEEDS_CHOICES = Rule(
    "!has(self.regularization) || self.regularization.rDropAlpha == 0.0"
    f" || self.task in [{', '.join(repr(name.value) for name in COMPARING_TWO_PASSES)}]",
    lambda spec: spec.regularization is None or spec.regularization.r_drop_alpha == 0 or spec.task in COMPARING_TWO_PASSES,
    f"regularization.rDropAlpha: only for {in_words(COMPARING_TWO_PASSES)} by an encoder; set it to 0 for this task",
)


def _metrics_of(facts: TaskFacts) -> Rule:
    def holds(spec: Any) -> bool:
        listed = spec.evaluation.metrics if spec.evaluation is not None else None
        return spec.task is not facts.name or set(listed or ()) <= set(facts.metrics)

    return Rule(
        f"self.task != '{facts.name}' || !has(self.evaluation) || !has(self.evaluation.metrics)"
        f" || self.evaluation.metrics.all(metric, metric in {_cel(facts.metrics)})",
        holds,
        f"evaluation.metrics: task {facts.name} has {in_words(facts.metrics)}; remove the others",
    )


def _watched_of(facts: TaskFacts) -> Rule:
    def holds(spec: Any) -> bool:
        stopping = spec.regularization.early_stopping if spec.regularization is not None else None
        return spec.task is not facts.name or stopping is None or stopping.metric in (None, *facts.metrics)

    stopping = "self.regularization.earlyStopping"
    return Rule(
        f"self.task != '{facts.name}' || !has(self.regularization) || !has({stopping}) || !has({stopping}.metric)"
        f" || {stopping}.metric in {_cel(facts.metrics)}",
        holds,
        f"regularization.earlyStopping.metric: task {facts.name} has {in_words(facts.metrics)}; name one of them",
    )


def _best_of(facts: TaskFacts) -> Rule:
    def holds(spec: Any) -> bool:
        best = spec.evaluation.best_metric if spec.evaluation is not None else None
        return spec.task is not facts.name or best in (None, *facts.metrics)

    return Rule(
        f"self.task != '{facts.name}' || !has(self.evaluation) || !has(self.evaluation.bestMetric)"
        f" || self.evaluation.bestMetric in {_cel(facts.metrics)}",
        holds,
        f"evaluation.bestMetric: task {facts.name} has {in_words(facts.metrics)}; name one of them",
    )


def _cel(names: Sequence[MetricName]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


TASK_RULES = tuple(rule(facts) for facts in TASKS.values() for rule in (_metrics_of, _watched_of, _best_of))
