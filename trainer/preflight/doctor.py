"""Examines the data as the model will see it: raises InputError if training is pointless, returns findings for the rest.

The task decides how many rows are examined, and adds its own findings. What applies to every task is here.
Tests: tests/trainer/preflight/test_doctor.py.
"""

from typing import Any

import numpy as np

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset
from trainer.data.sampled import Keep, Sampled, count_of, in_memory
from trainer.data.shards import loss_tokens_of, tails_of, token_blocks, truncated_of
from trainer.preflight.adapting import refuse_unlikely, replay_findings
from trainer.preflight.findings_answers import answer_findings, near_leakage_findings
from trainer.preflight.findings_evaluation import evaluation_findings
from trainer.preflight.limits import ModelLimits, limit_findings
from trainer.preflight.measured import refuse_undefined, refuse_unmeasured
from trainer.preflight.sides import TEXTS, task_on
from trainer.tasks.base import Task
from trainer.text.findings import text_findings

FEW_ROWS = 30
"""With fewer held-out rows, figures are unreliable."""
UNKNOWN_SHARE = 0.01
NO_LIMITS = ModelLimits()


def examine(task: Task[Any], dataset: Dataset, tokenizer: Any, config: TrainConfig, limits: ModelLimits = NO_LIMITS,
            keep: Keep = in_memory) -> tuple[str, ...]:  # fmt: skip
    """Return findings, most important first; raises InputError for data that makes training pointless.

    `limits` are those of the model; `keep` stores the tokens of the examined rows, which may be many.
    """
    max_length = config.training.max_sequence_length
    task.check_tokenizer(tokenizer)
    refuse_unmeasured(config, task.route)
    refuse_undefined(task, dataset, tokenizer, config)
    refuse_unlikely(config, task)
    sampled = {name: task_on(task, name).sampled(name, rows, tokenizer, max_length, keep) for name, rows in dataset.sides().items() if rows}
    texts = [sampled.pop(name) for name in TEXTS if name in sampled]
    sides = list(sampled.values())
    train = sides[0]
    findings = [
        *held_out_findings(dataset),
        *(finding for side in (*sides, *texts) for finding in length_findings(side, max_length)),
        *limit_findings([side.rows for side in (*sides, *texts)], tokenizer, config, task.route, limits),
        *task.findings(sides, tokenizer),
        *(finding for side in texts for finding in text_findings(side, tokenizer)),
        *unknown_token_findings(train, tokenizer, tails=task.family is not ModelFamily.ENCODER),
        *answer_findings(dataset.train),
        *near_leakage_findings(dataset),
        *size_findings(dataset, tokenizer, task, config),
        *replay_findings(config, task, dataset, tokenizer),
        *evaluation_findings(task, dataset, tokenizer, config, limits),
    ]
    return tuple(findings)


def held_out_findings(dataset: Dataset) -> list[str]:
    """Report which figures will be missing or unreliable."""
    findings = []
    if not dataset.test:
        findings.append("data.test: there are no test rows, so base and tuned model cannot be compared; give data.testFraction")
    elif len(dataset.test) < FEW_ROWS:
        findings.append(f"data.test: only {count_of(len(dataset.test))}; the figures on them are rough")
    if dataset.validation and len(dataset.validation) < FEW_ROWS:
        findings.append(f"data.validation: only {count_of(len(dataset.validation))}; they decide which checkpoint is best")
    return findings


def length_findings(side: Sampled[Any], max_length: int) -> list[str]:
    """Find truncated rows, and rows without tokens to learn; raises InputError if no examined row has any."""
    findings = []
    # What has a tail has its targets; a span without any is the task's to report.
    masked = np.flatnonzero((loss_tokens_of(side.rows) == 0) & (tails_of(side.rows) == 0))
    if len(masked):
        what = f"nothing is left to learn after the first {max_length} tokens"
        first = side.examples[masked[0]].origin
        fix = "raise training.maxSequenceLength or shorten the prompts"
        if len(masked) == len(side.rows):
            raise InputError(side.name, f"none of {side.of()} has anything to learn: {what} (the first: {first})", fix)
        findings.append(f"{side.name}: in {len(masked)} of {side.of()} {what} (the first: {first}); {fix}")
    cut = np.flatnonzero(truncated_of(side.rows))
    if len(cut):
        share = f"{100 * len(cut) / len(side.rows):.3g} %"
        first = side.examples[cut[0]].origin
        fix = "raise training.maxSequenceLength to keep their ends"
        findings.append(f"{side.name}: {len(cut)} of {side.of()} ({share}) are cut after {max_length} tokens (the first: {first}); {fix}")
    return findings


def unknown_token_findings(side: Sampled[Any], tokenizer: Any, *, tails: bool = True) -> list[str]:
    """Report a share of unknown tokens above `UNKNOWN_SHARE`, as with a script that the tokenizer does not know."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        return []
    tokens = count = 0
    for block in token_blocks(side.rows, tails=tails):
        tokens, count = tokens + len(block), count + int(np.count_nonzero(block == unknown))
    if count <= UNKNOWN_SHARE * tokens:
        return []
    return [f"{side.name}: {100 * count / tokens:.3g} % of the tokens are unknown to the tokenizer; is the model made for this language?"]


def size_findings(dataset: Dataset, tokenizer: Any, task: Task[Any], config: TrainConfig) -> list[str]:
    """Report a global batch that is larger than the number of training rows."""
    batch = config.training.global_batch_size
    if len(dataset.train) >= batch or (rows := task.count(dataset.train, tokenizer, config.training.max_sequence_length).pieces) >= batch:
        return []
    fix = "lower training.globalBatchSize or give more rows"
    return [f"data.train: {count_of(rows)}, fewer than training.globalBatchSize {batch}: one step repeats rows; {fix}"]
