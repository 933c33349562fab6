"""Looks over the data as the model will see it, and reports what makes training pointless (InputError) or deserves attention (findings).

Looks at every conversation: one that the template refuses or shows otherwise than it was written must not wait for a rank to
find it. Of many texts it looks at a sample, and says so.
Tests: tests/trainer/preflight/test_doctor.py.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from finetune.api.errors import InputError
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig
from trainer.augmentation.words import WORD
from trainer.chat.template import uses_plain_template
from trainer.data.columns import prompt_id
from trainer.data.rows import Dataset, Example
from trainer.preflight.findings_evaluation import evaluation_findings
from trainer.preflight.findings_turns import clock_findings, special_token_findings, stop_findings, turn_findings
from trainer.preflight.limits import ModelLimits, limit_findings
from trainer.preflight.side import Side, count_of, read_side
from trainer.text.pieces import count_pieces

FEW_ROWS = 30
"""With fewer held-out rows, figures say little."""
REPEATED_ANSWER_SHARE = 0.5
UNKNOWN_SHARE = 0.01
NO_LIMITS = ModelLimits()


def examine(dataset: Dataset, tokenizer: Any, config: TrainConfig, limits: ModelLimits = NO_LIMITS) -> tuple[str, ...]:
    """Return what deserves attention, most important first; raises InputError for what makes training pointless.

    `limits` are those of the model that the rows are for.
    """
    max_length = config.training.max_sequence_length
    if config.task is TaskName.CHAT and uses_plain_template(tokenizer) and tokenizer.eos_token_id is None:
        problem = "the tokenizer has neither a chat template nor an end-of-sequence token, so answers could not end"
        raise InputError("model", problem, "use another model")
    sets = {"data.train": dataset.train, "data.validation": dataset.validation, "data.test": dataset.test}
    sides = [read_side(name, rows, tokenizer, max_length) for name, rows in sets.items() if rows]
    train = sides[0]
    findings = [
        *held_out_findings(dataset),
        *(finding for side in sides for finding in length_findings(side, max_length)),
        *limit_findings([row for side in sides for row in side.rows], tokenizer, config, limits),
        *stop_findings(train, tokenizer, config.task),
        *clock_findings(tokenizer, config.task),
        *(finding for side in sides for finding in turn_findings(side)),
        *(finding for side in sides for finding in special_token_findings(side, tokenizer)),
        *unknown_token_findings(train, tokenizer),
        *answer_findings(dataset.train),
        *near_leakage_findings(dataset),
        *size_findings(dataset, tokenizer, config),
        *evaluation_findings(dataset, tokenizer, config, limits),
    ]
    return tuple(findings)


def held_out_findings(dataset: Dataset) -> list[str]:
    """Say which figures will be missing or rough."""
    findings = []
    if not dataset.test:
        findings.append("data.test: there are no test rows, so base and tuned model cannot be compared; give data.testFraction")
    elif len(dataset.test) < FEW_ROWS:
        findings.append(f"data.test: {count_of(len(dataset.test))} only; the figures on them are rough")
    if dataset.validation and len(dataset.validation) < FEW_ROWS:
        findings.append(f"data.validation: {count_of(len(dataset.validation))} only; the best checkpoint is chosen by few rows")
    return findings


def length_findings(side: Side, max_length: int) -> list[str]:
    """Find rows that are cut, and rows of which nothing to learn is left."""
    findings = []
    masked = [index for index, row in enumerate(side.rows) if not any(row.loss_mask)]
    if masked:
        what = f"nothing is left to learn after the first {max_length} tokens"
        first = side.examples[masked[0]].origin
        fix = "raise training.maxSequenceLength or shorten the prompts"
        if len(masked) == len(side.rows):
            raise InputError(side.name, f"of {side.of()}, in none anything is learnt: {what} (the first: {first})", fix)
        findings.append(f"{side.name}: in {len(masked)} of {side.of()} {what} (the first: {first}); {fix}")
    cut = [index for index, row in enumerate(side.rows) if row.truncated]
    if cut:
        share = f"{100 * len(cut) / len(side.rows):.3g} %"
        first = side.examples[cut[0]].origin
        fix = "raise training.maxSequenceLength to keep their ends"
        findings.append(f"{side.name}: {len(cut)} of {side.of()} ({share}) are cut after {max_length} tokens (the first: {first}); {fix}")
    return findings


def unknown_token_findings(side: Side, tokenizer: Any) -> list[str]:
    """Find texts in a script that the tokenizer does not know."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        return []
    tokens = sum(len(row.input_ids) for row in side.rows)
    count = sum(row.input_ids.count(unknown) for row in side.rows)
    if count <= UNKNOWN_SHARE * tokens:
        return []
    return [f"{side.name}: {100 * count / tokens:.3g} % of the tokens are unknown to the tokenizer; is the model made for this language?"]


def answer_findings(examples: Sequence[Example]) -> list[str]:
    """Find prompts with several answers, and one answer that stands for most prompts."""
    chats = [example for example in examples if example.messages]
    if not chats:
        return []
    findings = []
    asked = [prompt_id(example) for example in chats]
    answers: dict[str, set[str]] = {prompt: set() for prompt in asked}
    for prompt, example in zip(asked, chats, strict=True):
        answers[prompt].add(" ".join(_answer(example).split()))
    several = sum(len(given) > 1 for given in answers.values())
    if several:
        first = next(example for prompt, example in zip(asked, chats, strict=True) if len(answers[prompt]) > 1)
        word = "1 prompt has" if several == 1 else f"{several} prompts have"
        findings.append(f"data.train: {word} several different answers (the first: {first.origin}); the model learns a mixture of them")
    answer, count = Counter(_answer(example).strip() for example in chats).most_common(1)[0]
    if count > 1 and count >= REPEATED_ANSWER_SHARE * len(chats):
        findings.append(f"data.train: {count} of {len(chats)} rows have the same answer, «{answer[:60]}»; the model may say little else")
    return findings


def near_leakage_findings(dataset: Dataset) -> list[str]:
    """Find held-out prompts that differ from a training prompt in case, punctuation or spacing only."""
    findings = []
    train = {_bare(example): example for example in dataset.train}
    for name, rows in (("data.validation", dataset.validation), ("data.test", dataset.test)):
        near = [example for example in rows if _bare(example) in train]
        if near:
            word = "1 row asks" if len(near) == 1 else f"{len(near)} rows ask"
            pair = f"{near[0].origin} and {train[_bare(near[0])].origin}"
            findings.append(f"{name}: {word} what a training row asks, but for case and punctuation ({pair}); its figures flatter")
    return findings


def size_findings(dataset: Dataset, tokenizer: Any, config: TrainConfig) -> list[str]:
    """Find batches that hold a row more than once."""
    batch = config.training.global_batch_size
    if len(dataset.train) >= batch or (rows := count_pieces(dataset.train, tokenizer, config.training.max_sequence_length).pieces) >= batch:
        return []
    fix = "lower training.globalBatchSize or give more rows"
    return [f"data.train: {count_of(rows)}, fewer than training.globalBatchSize {batch}: one step sees rows twice; {fix}"]


def _answer(example: Example) -> str:
    return example.messages[example.answer_index].content if example.messages else ""


def _bare(example: Example) -> str:
    """Return what is asked as words in lower case. The roles keep a question apart from a conversation that goes on from it."""
    if example.messages is None:
        return " ".join(WORD.findall((example.text or "").casefold()))
    return "\n".join(f"{turn.role} {' '.join(WORD.findall(turn.content.casefold()))}" for turn in example.asked)
