"""What is new in a progress record, in lines for a person.

Pure. Tests: tests/finetune/cli/local/test_news.py.
"""

from collections.abc import Mapping
from datetime import timedelta

from finetune.api.metrics import METRICS, Compared, MetricName
from finetune.api.record import AdaptationFigures, CheckpointRecord, Metrics, ModelProvenance, ProgressRecord, Stage

STAGES = {
    Stage.READING: "reading rows and tokenizing them",
    Stage.STARTING: "starting the workers and loading the model",
    Stage.REWRITING: "having models write variants of the training texts",
    Stage.BASELINE: "measuring the base model",
    Stage.TRAINING: "training",
    Stage.FINAL: "measuring the tuned model",
    Stage.EXPORTING: "writing the tuned model",
    Stage.FINISHED: "finished",
}


def news(before: ProgressRecord | None, record: ProgressRecord) -> list[str]:
    """Return a line for each thing that is new in `record`."""
    lines = []
    if record.model is not None and (before is None or before.model is None):
        lines.append(_model(record.model))
    if record.resumed_from_step and (before is None or before.resumed_from_step is None):
        continued, step = record.continued_from, record.resumed_from_step
        whose = f" of the job {continued.name}" if continued is not None and continued.step == step else ""
        lines.append(f"resumed from step {step}{whose}")
    known_warnings = before.warnings if before else []
    lines += [f"warning: {warning}" for warning in record.warnings if warning not in known_warnings]
    if record.metrics.baseline and not (before and before.metrics.baseline):
        lines.append(f"base model: {listed(record.metrics.baseline)}")
    score, known = record.metrics.validated, before.metrics.validated if before else None
    # After a resume the record holds the validation of the run before; it is not news, unless this start measured it.
    if score is not None and score != known and (_is_later(score.step, record) or _is_measured_now(score.step, before, record)):
        lines.append(f"{whose_run(record)}validation at step {score.step}: {score}{_losses(record.metrics, score.step)}")
    general, known_general = record.metrics.adaptation, before.metrics.adaptation if before else None
    if general is not None and general != known_general and before is not None and record.stage is Stage.TRAINING:
        lines.append(f"{whose_run(record)}{_general(general)}")
    known_steps = {checkpoint.step for checkpoint in before.checkpoints} if before else set()
    # After a resume the record lists the checkpoints of the run before; they are not news.
    lines += [_checkpoint(checkpoint) for checkpoint in record.checkpoints if _is_new(checkpoint, record, known_steps)]
    if record.metrics.final and not (before and before.metrics.final):
        lines += tuned_lines(record.metrics)
    if (record.stage, run_of(record)) != ((before.stage, run_of(before)) if before else None) and record.stage is not Stage.FINISHED:
        lines.append(stage_line(record))
    return lines


def run_of(record: ProgressRecord) -> str | None:
    """Return which further run of the job a record is of; None for the job's own."""
    return record.progress.run if record.progress is not None else None


def whose_run(record: ProgressRecord) -> str:
    """Return how a figure of a further run begins; empty for the job's own."""
    run = run_of(record)
    return "" if run is None else f"{run}: "


def stage_line(record: ProgressRecord) -> str:
    """Return what the trainer does, and for which run if that is not the job's own."""
    run = run_of(record)
    if run is not None and record.stage is Stage.EXPORTING:
        return f"{run}: writing the results"  # most further runs keep figures and no model
    return STAGES[record.stage] if run is None else f"{run}: {STAGES[record.stage]}"


def progress_line(record: ProgressRecord) -> str:
    """Return step, loss, tokens/s and ETA as far as they are known."""
    progress = record.progress
    if progress is None:
        return ""
    parts = [f"step {progress.step}/{progress.total_steps}"]
    loss = record.metrics.latest.get(MetricName.TRAIN_LOSS)
    if loss is not None and progress.run is None:
        parts.append(f"loss {METRICS[MetricName.TRAIN_LOSS].shown(loss)}")
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.eta_seconds is not None and record.stage is Stage.TRAINING:
        parts.append(f"ETA {timedelta(seconds=round(progress.eta_seconds))}")
    return " · ".join(parts)


def tuned_lines(metrics: Metrics) -> list[str]:
    """Return the figures of the tuned model: in one line, or where they are compared with the base model's, a line for each."""
    if not metrics.compared:
        return [f"tuned model: {listed(metrics.final)}"]
    figures = [
        f"  {name} {metrics.compared.get(name, Compared()).words(name, metrics.baseline.get(name), value)}"
        for name, value in metrics.final.items()
    ]
    return ["base model → tuned model [95 % interval]:", *figures]


def listed(values: Mapping[MetricName, float]) -> str:
    """Return named figures in one line."""
    return ", ".join(METRICS[name].named(value) for name, value in values.items())


def _losses(metrics: Metrics, step: int) -> str:
    """Return the losses on training and validation rows of the same validation, if they are known."""
    found = metrics.generalization
    if found is None or found.step != step:
        return ""
    return f"; loss {found.train_loss:.4f} on training rows, {found.validation_loss:.4f} on validation rows"


def _general(found: AdaptationFigures) -> str:
    value, what = found.general_perplexity, "perplexity"
    if value is None:
        value, what = found.general_pseudo_perplexity, "pseudo-perplexity"
    rise = f" ({found.general_increase_percent:+.1f} % of the base model)" if found.general_increase_percent is not None else ""
    bound = "" if found.within_budget is None else ", within the budget" if found.within_budget else ", beyond the budget"
    return f"general texts: {what} {'not a number' if value is None else f'{value:.2f}'}{rise}{bound}"


def _model(model: ModelProvenance) -> str:
    size = f", {model.parameters / 1e6:,.0f} million parameters" if model.parameters else ""
    revision = f" at {model.revision}" if model.revision else ""
    return f"model: {model.name}{revision} from {model.source}, {model.precision}, digest {model.digest[:19]}{size}"


def _is_new(checkpoint: CheckpointRecord, record: ProgressRecord, known_steps: set[int]) -> bool:
    return checkpoint.step not in known_steps and _is_later(checkpoint.step, record)


def _is_measured_now(step: int | None, before: ProgressRecord | None, record: ProgressRecord) -> bool:
    """Return whether this start validated the step that it resumed from, which it had not when it reported the resume."""
    return bool(record.resumed_from_step) and step == record.resumed_from_step and before is not None and before.resumed_from_step == step


def _is_later(step: int | None, record: ProgressRecord) -> bool:
    """Return whether a step belongs to this start, not to the one that it resumed."""
    return step is not None and step > (record.resumed_from_step or 0)


def _checkpoint(checkpoint: CheckpointRecord) -> str:
    score = f", {checkpoint.score}" if checkpoint.score is not None else ""
    verified = "" if checkpoint.verified else ", NOT verified"
    return f"checkpoint at step {checkpoint.step} ({checkpoint.size_bytes / 1e6:,.1f} MB{score}{verified})"
