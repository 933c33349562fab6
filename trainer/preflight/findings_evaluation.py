"""Findings on evaluation, before training: metrics undefined for the references, truncated answers and prompts, unused settings.

Test: tests/trainer/preflight/test_findings_evaluation.py.
"""

from collections.abc import Sequence
from typing import Any

from finetune.api.evaluation import Generation, TextNormalization
from finetune.api.metrics import METRICS, MetricName, Needs
from finetune.api.tasks import ModelFamily, Route, in_words
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset
from trainer.data.sampler import steps_total
from trainer.evaluation.metrics.corpus import References, flat
from trainer.evaluation.metrics.evidence import Answers
from trainer.evaluation.metrics.references import writing_of
from trainer.evaluation.metrics.registry import left_out_finding, text_metric, undefined
from trainer.evaluation.turns import in_turns
from trainer.evaluation.unchanged import unchanged_figures
from trainer.preflight.adapting import epoch_rows
from trainer.preflight.limits import ModelLimits
from trainer.tasks.base import Generate, Request, Task

MAX_NEW_TOKENS = 8192
"""The largest value that the schema allows."""
ERROR_RATES = (MetricName.WER, MetricName.CER)


def evaluation_findings(task: Task[Any], dataset: Dataset, tokenizer: Any, config: TrainConfig, limits: ModelLimits) -> list[str]:
    """Return findings on the figures on held-out rows, and on settings without effect."""
    names = config.text_metrics(task.route)
    findings = []
    if names and dataset.test:
        generation = config.evaluation.generation or Generation()
        asked = [(example.origin, task.request(example, tokenizer)) for example in in_turns(dataset.test, generation.samples)]
        requests = [(origin, request) for origin, request in asked if isinstance(request, Generate)]
        origins, references = [origin for origin, _ in requests], [request.references for _, request in requests]
        findings += reference_findings(references, names)
        if task.facts.unchanged:
            findings += unchanged_findings([request for _, request in requests], names, config.evaluation.text_normalization)
        if len(undefined(references, names)) < len(names):  # else nothing is generated
            answering = limits.answer_positions or limits.positions
            findings += answer_length_findings(
                [request for _, request in requests], origins, tokenizer, generation.max_new_tokens, answering
            )
            lengths = [len(request.prompt) for _, request in requests]
            if task.family is ModelFamily.SEQ2SEQ:
                findings += source_length_findings(lengths, origins, config, limits)
            else:
                findings += prompt_length_findings(lengths, origins, config, limits)
    return findings + stopping_findings(dataset, tokenizer, task, config) + idle_findings(task.route, dataset, config, names)


def unchanged_findings(requests: Sequence[Request], names: Sequence[MetricName], normalization: TextNormalization) -> list[str]:
    """Say how good the texts are that a model has to improve: who corrects a good recognizer can easily make it worse."""
    wanted = [name for name in names if name in ERROR_RATES]
    figures = unchanged_figures(requests, Answers(normalization=normalization), wanted) if requests else {}
    found = [METRICS[name].named(figure.value) for name, figure in figures.items() if figure.value is not None]
    rows = "the row that is answered has" if len(requests) == 1 else f"the {len(requests)} rows that are answered have"
    return (
        [f"data.test: as they are given, without any model, {rows} {in_words(found)}; that is what the model has to improve"]
        if found
        else []
    )


def reference_findings(references: References, names: Sequence[MetricName]) -> list[str]:
    """Find metrics that are undefined for these references, or depend on only a few of them."""
    reasons, writing = undefined(references, names), writing_of(flat(references))
    findings = [left_out_finding(name, reason) for name, reason in reasons.items()]
    defined = [text_metric(name) for name in names if name not in reasons]
    findings += [f"data.test: {doubt}" for metric in defined if (doubt := metric.doubt(references)) is not None]
    split_by = [metric.facts.name for metric in defined if metric.splits_words]
    if writing.mixed and split_by:
        share = f"{writing.unspaced} of {len(flat(references))} references are in a script without spaces between words"
        how = "between spaces" if writing.has_words else f"by sacrebleu's {writing.tokenization}"
        findings.append(f"data.test: {share}, the others are not; for {in_words(split_by)} all are split {how}")
    return findings


def answer_length_findings(
    requests: Sequence[Generate], origins: Sequence[str], tokenizer: Any, limit: int, positions: int | None
) -> list[str]:
    """Find references longer than the longest generated answer, which can never equal them; `positions` bound what could be generated."""
    lengths = [len(request.opening) + min(_tokens_in(tokenizer, text) for text in request.references) for request in requests]
    longer = [index for index, length in enumerate(lengths) if length > limit]
    if not longer:
        return []
    # One more token, so that the model can end its answer.
    fitting = max(lengths) + 1
    fits = fitting <= MAX_NEW_TOKENS and (positions is None or fitting < positions)
    fix = f"set evaluation.generation.maxNewTokens to {fitting}" if fits else "shorten them"
    share = _share(len(longer), len(lengths), "references")
    what = f"have more than the {limit} tokens that may be generated (the longest {max(lengths)}, the first: {origins[longer[0]]})"
    return [f"data.test: {share} {what}, so answers are cut and the text metrics are low; {fix}"]


def _tokens_in(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


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


def source_length_findings(lengths: Sequence[int], origins: Sequence[str], config: TrainConfig, limits: ModelLimits) -> list[str]:
    """Find sources that lose their end to the job's maximum length or the positions of the encoder."""
    room, fix = config.training.max_sequence_length, "raise training.maxSequenceLength"
    if limits.positions is not None and limits.positions < room:
        room, fix = limits.positions, f"the model has {limits.positions} positions: shorten them"
    longer = [index for index, length in enumerate(lengths) if length > room]
    if not longer:
        return []
    share, first = _share(len(longer), len(lengths), "sources"), origins[longer[0]]
    return [f"data.test: {share} have more than {room} tokens and are answered without their end (the first: {first}); {fix}"]


def stopping_findings(dataset: Dataset, tokenizer: Any, task: Task[Any], config: TrainConfig) -> list[str]:
    """Report validation or early stopping that can have no effect within the run's steps."""
    rule, every = config.regularization.early_stopping, config.evaluation.every_steps
    if not dataset.validation or (rule is None and every is None):
        return []
    rows = task.count(dataset.train, tokenizer, config.training.max_sequence_length).pieces
    drawn = epoch_rows(rows, config)
    total = steps_total(drawn, config.training)
    interval = every or max(1, round(drawn / config.training.global_batch_size))
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


def idle_findings(route: Route, dataset: Dataset, config: TrainConfig, names: Sequence[MetricName]) -> list[str]:
    """Find evaluation settings that have no effect."""
    evaluation, findings = config.evaluation, []
    # The stage of a corpus is validated at the same interval.
    measured = dataset.validation or dataset.general or dataset.domain or (config.domain_adaptation and config.domain_adaptation.corpus)
    if evaluation.every_steps is not None and not measured:
        findings.append("evaluation.everySteps: without effect, there are no validation rows; give data.validationFraction")
    if evaluation.generation is not None and not route.generates:
        findings.append(f"evaluation.generation: without effect, no answers are generated for task {config.task.value}")
    elif evaluation.generation is not None and not names and not _generates(config.validated_metrics(route)):
        findings.append("evaluation.generation: without effect, none of evaluation.metrics needs generated answers")
    return findings


def _generates(names: Sequence[MetricName]) -> bool:
    return any(METRICS[name].needs is Needs.GENERATED_TEXT for name in names)


def _share(part: int, whole: int, noun: str) -> str:
    return f"{part} of {whole} {noun} ({100 * part / whole:.3g} %)"
