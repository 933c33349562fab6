"""Findings on evaluation, before training: metrics undefined for the references, truncated answers and prompts, unused settings.

Test: tests/trainer/preflight/test_findings_evaluation.py.
"""

from collections.abc import Sequence
from typing import Any

from finetune.api.metrics import MetricName
from finetune.api.sections import Generation
from finetune.api.tasks import TASKS, in_words
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset
from trainer.data.sampler import steps_total
from trainer.evaluation.metrics.references import writing_of
from trainer.evaluation.metrics.registry import left_out_finding, text_metric, undefined
from trainer.preflight.limits import ModelLimits
from trainer.tasks.base import Generate, Task
from trainer.tasks.registry import task_of

MAX_NEW_TOKENS = 8192
"""The largest value that the schema allows."""


def evaluation_findings(dataset: Dataset, tokenizer: Any, config: TrainConfig, limits: ModelLimits) -> list[str]:
    """Return findings on the figures on held-out rows, and on settings without effect."""
    task, names = task_of(config.task), config.evaluation.text_metrics_of(config.task)
    findings = []
    if names and dataset.test:
        generation = config.evaluation.generation or Generation()
        asked = [(example.origin, task.request(example, tokenizer)) for example in dataset.test[: generation.samples]]
        requests = [(origin, request) for origin, request in asked if isinstance(request, Generate)]
        origins, references = [origin for origin, _ in requests], [request.reference for _, request in requests]
        findings += reference_findings(references, names)
        if len(undefined(references, names)) < len(names):  # else nothing is generated
            findings += answer_length_findings([request for _, request in requests], origins, tokenizer, generation.max_new_tokens, limits)
            findings += prompt_length_findings([len(request.prompt) for _, request in requests], origins, config, limits)
    return findings + stopping_findings(dataset, tokenizer, task, config) + idle_findings(dataset, config, names)


def reference_findings(references: Sequence[str], names: Sequence[MetricName]) -> list[str]:
    """Find metrics that are undefined for these references, or depend on only a few of them."""
    reasons, writing = undefined(references, names), writing_of(references)
    findings = [left_out_finding(name, reason) for name, reason in reasons.items()]
    defined = [text_metric(name) for name in names if name not in reasons]
    findings += [f"data.test: {doubt}" for metric in defined if (doubt := metric.doubt(references)) is not None]
    split_by = [metric.facts.name for metric in defined if metric.splits_words]
    if writing.mixed and split_by:
        share = f"{writing.unspaced} of {len(references)} references are in a script without spaces between words"
        how = "between spaces" if writing.has_words else f"by sacrebleu's {writing.tokenization}"
        findings.append(f"data.test: {share}, the others are not; for {in_words(split_by)} all are split {how}")
    return findings


def answer_length_findings(
    requests: Sequence[Generate], origins: Sequence[str], tokenizer: Any, limit: int, limits: ModelLimits
) -> list[str]:
    """Find references longer than the longest generated answer, which can never equal them."""
    tokens = [tokenizer(request.reference, add_special_tokens=False, verbose=False)["input_ids"] for request in requests]
    lengths = [len(request.opening) + len(found) for request, found in zip(requests, tokens, strict=True)]
    longer = [index for index, length in enumerate(lengths) if length > limit]
    if not longer:
        return []
    # One more token, so that the model can end its answer.
    fitting = max(lengths) + 1
    fits = fitting <= MAX_NEW_TOKENS and (limits.positions is None or fitting < limits.positions)
    fix = f"set evaluation.generation.maxNewTokens to {fitting}" if fits else "shorten them"
    share = _share(len(longer), len(lengths), "references")
    what = f"have more than the {limit} tokens that may be generated (the longest {max(lengths)}, the first: {origins[longer[0]]})"
    return [f"data.test: {share} {what}, so answers are cut and the text metrics are low; {fix}"]


def prompt_length_findings(lengths: Sequence[int], origins: Sequence[str], config: TrainConfig, limits: ModelLimits) -> list[str]:
    """Find prompts that lose their beginning to the job's maximum length or the model's context."""
    allowed, new_tokens = config.training.max_sequence_length, (config.evaluation.generation or Generation()).max_new_tokens
    room, fix = allowed, "raise training.maxSequenceLength"
    if limits.positions is not None and 0 < limits.positions - new_tokens < allowed:
        room = limits.positions - new_tokens
        fix = f"the model has {limits.positions} positions: shorten the prompts, or lower evaluation.generation.maxNewTokens"
    longer = [index for index, length in enumerate(lengths) if length > room]
    if not longer:
        return []
    share, first = _share(len(longer), len(lengths), "prompts"), origins[longer[0]]
    return [f"data.test: {share} have more than {room} tokens and are answered without their beginning (the first: {first}); {fix}"]


def stopping_findings(dataset: Dataset, tokenizer: Any, task: Task[Any], config: TrainConfig) -> list[str]:
    """Report validation or early stopping that can have no effect within the run's steps."""
    rule, every = config.regularization.early_stopping, config.evaluation.every_steps
    if not dataset.validation or (rule is None and every is None):
        return []
    rows = task.count(dataset.train, tokenizer, config.training.max_sequence_length).pieces
    total = steps_total(rows, config.training)
    interval = every or max(1, round(rows / config.training.global_batch_size))
    if every is not None and every > total:
        what = f"{every} is more than the {total} steps of the run, so validation comes once, at the end"
        effect = ", and regularization.earlyStopping cannot act" if rule else ""
        return [f"evaluation.everySteps: {what}{effect}; set it to less"]
    # The first validation sets the reference, `patience` more without improvement stop the run: only useful before the last step.
    if rule is None or (rule.patience + 1) * interval < total:
        return []
    count = -(-total // interval)
    times = "once" if count == 1 else f"{count} times"
    validated = f"a run of {total} steps is validated {times}, every {interval} steps"
    needed = f"patience {rule.patience} needs {rule.patience + 1} validations before the last step"
    return [f"regularization.earlyStopping: cannot act: {validated}, and {needed}; lower evaluation.everySteps or patience"]


def idle_findings(dataset: Dataset, config: TrainConfig, names: Sequence[MetricName]) -> list[str]:
    """Find evaluation settings that have no effect."""
    evaluation, findings = config.evaluation, []
    if evaluation.every_steps is not None and not dataset.validation:
        findings.append("evaluation.everySteps: without effect, there are no validation rows; give data.validationFraction")
    if evaluation.generation is not None and not TASKS[config.task].generates:
        findings.append(f"evaluation.generation: without effect, no answers are generated for task {config.task.value}")
    elif evaluation.generation is not None and not names:
        findings.append("evaluation.generation: without effect, none of evaluation.metrics needs generated answers")
    return findings


def _share(part: int, whole: int, noun: str) -> str:
    return f"{part} of {whole} {noun} ({100 * part / whole:.3g} %)"
