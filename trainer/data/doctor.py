"""Looks over the data as the model will see it, and says what makes training senseless (InputError) or worth a thought (findings).

Tokenizes a sample where rows are many, and says so. Tests: tests/trainer/data/test_doctor.py.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.errors import InputError
from trainer.config.sections import Task
from trainer.config.train import TrainConfig
from trainer.data.columns import prompt_id
from trainer.data.limits import ModelLimits, limit_findings
from trainer.data.rows import Dataset, Example, Tokens
from trainer.data.template import PLAIN_TEMPLATE, special_ids
from trainer.data.texts import count_pieces, pieces_of
from trainer.data.words import WORD

SAMPLE_ROWS = 2000
"""Rows of a set that are tokenized: about two seconds, and a share of one in a hundred is seen about twenty times."""
LONGEST_ROWS = 50
"""The longest rows are always in the sample: they are the ones that do not fit."""
FEW_ROWS = 30
"""With fewer held-out rows, figures say little."""
REPEATED_ANSWER_SHARE = 0.5
UNKNOWN_SHARE = 0.01
NO_LIMITS = ModelLimits()


@dataclass(frozen=True)
class Sample:
    """Rows of one set with their tokens. A text that makes several pieces stands there as often, once for each."""

    name: str
    total: int
    sampled: int
    examples: Sequence[Example]
    rows: Sequence[Tokens]

    def of(self) -> str:
        """Say how many rows were looked at."""
        if self.sampled == self.total:
            return "1 row" if self.total == 1 else f"{self.total} rows"
        return f"{self.sampled} sampled rows of {self.total}"


def examine(dataset: Dataset, tokenizer: Any, config: TrainConfig, limits: ModelLimits = NO_LIMITS) -> tuple[str, ...]:
    """Return what is worth a thought, most important first; raises InputError for what makes training senseless.

    `limits` are those of the model that the rows are for.
    """
    max_length = config.training.max_sequence_length
    if config.task is Task.CHAT and _uses_plain_template(tokenizer) and tokenizer.eos_token_id is None:
        problem = "the tokenizer has neither a chat template nor an end-of-sequence token, so answers could not end"
        raise InputError("model", problem, "use another model")
    sets = {"data.train": dataset.train, "data.validation": dataset.validation, "data.test": dataset.test}
    samples = [take_sample(name, rows, tokenizer, max_length) for name, rows in sets.items() if rows]
    train = samples[0]
    findings = [
        *held_out_findings(dataset),
        *(finding for sample in samples for finding in length_findings(sample, max_length)),
        *limit_findings([row for sample in samples for row in sample.rows], tokenizer, config, limits),
        *stop_findings(train, tokenizer, config.task),
        *special_token_findings(train, tokenizer),
        *unknown_token_findings(train, tokenizer),
        *answer_findings(dataset.train),
        *near_leakage_findings(dataset),
        *size_findings(dataset, tokenizer, config),
    ]
    return tuple(findings)


def take_sample(name: str, examples: Sequence[Example], tokenizer: Any, max_length: int) -> Sample:
    """Return rows spread evenly over the set, the longest ones, and one of each order of roles that a template might refuse."""
    chosen = set(range(len(examples)))
    if len(examples) > SAMPLE_ROWS:
        stride = len(examples) / SAMPLE_ROWS
        chosen = {int(number * stride) for number in range(SAMPLE_ROWS)}
        chosen.update(sorted(range(len(examples)), key=lambda index: _size(examples[index]))[-LONGEST_ROWS:])
        chosen.update({_roles(example): index for index, example in enumerate(examples)}.values())
    pieces = [piece for index in sorted(chosen) for piece in pieces_of(examples[index], tokenizer, max_length)]
    return Sample(name, len(examples), len(chosen), [piece.example for piece in pieces], [piece.tokens for piece in pieces])


def held_out_findings(dataset: Dataset) -> list[str]:
    """Say which figures will be missing or rough."""
    findings = []
    if not dataset.test:
        findings.append("data.test: there are no test rows, so base and tuned model cannot be compared; give data.testFraction")
    elif len(dataset.test) < FEW_ROWS:
        findings.append(f"data.test: {_count(len(dataset.test))} only; the figures on them are rough")
    if dataset.validation and len(dataset.validation) < FEW_ROWS:
        findings.append(f"data.validation: {_count(len(dataset.validation))} only; the best checkpoint is chosen by few rows")
    return findings


def length_findings(sample: Sample, max_length: int) -> list[str]:
    """Find rows that are cut, and rows of which nothing to learn is left."""
    findings = []
    masked = [index for index, row in enumerate(sample.rows) if not any(row.loss_mask)]
    if masked:
        what = f"nothing is left to learn after the first {max_length} tokens"
        first = sample.examples[masked[0]].origin
        fix = "raise training.maxSequenceLength or shorten the prompts"
        if len(masked) == len(sample.rows):
            raise InputError(sample.name, f"of {sample.of()}, in none anything is learnt: {what} (the first: {first})", fix)
        findings.append(f"{sample.name}: in {len(masked)} of {sample.of()} {what} (the first: {first}); {fix}")
    cut = [index for index, row in enumerate(sample.rows) if row.truncated]
    if cut:
        share = f"{100 * len(cut) / len(sample.rows):.3g} %"
        first = sample.examples[cut[0]].origin
        fix = "raise training.maxSequenceLength to keep their ends"
        findings.append(
            f"{sample.name}: {len(cut)} of {sample.of()} ({share}) are cut after {max_length} tokens (the first: {first}); {fix}"
        )
    return findings


def stop_findings(sample: Sample, tokenizer: Any, task: Task) -> list[str]:
    """Find out whether the model learns to end its answers."""
    if task is not Task.CHAT:
        return (
            []
            if tokenizer.eos_token_id is not None
            else ["model: the tokenizer has no end-of-sequence token, the end of a text is not learnt"]
        )
    findings = []
    if _uses_plain_template(tokenizer):
        findings.append("model: the tokenizer has no chat template; conversations are written as «User: …», «Assistant: …»")
    whole = [row for row in sample.rows if not row.truncated and any(row.loss_mask)]
    special = special_ids(tokenizer)
    unended = sum(_last_learnt(row) not in special for row in whole)
    if whole and unended == len(whole):
        findings.append("model: its chat template ends answers without a special token; the tuned model may not know when to stop")
    return findings


def special_token_findings(sample: Sample, tokenizer: Any) -> list[str]:
    """Find texts that contain the names of special tokens, which the tokenizer takes for the tokens themselves."""
    names = [str(tokenizer.convert_ids_to_tokens(index)) for index in special_ids(tokenizer)]
    names = [name for name in names if len(name) > 2]
    for example in sample.examples:
        text = _text(example)
        name = next((name for name in names if name in text), None)
        if name is not None:
            return [f"{sample.name}: {example.origin} contains {name}, which the model reads as a control token; remove it from the text"]
    return []


def unknown_token_findings(sample: Sample, tokenizer: Any) -> list[str]:
    """Find texts in a script that the tokenizer does not know."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        return []
    tokens = sum(len(row.input_ids) for row in sample.rows)
    count = sum(row.input_ids.count(unknown) for row in sample.rows)
    if count <= UNKNOWN_SHARE * tokens:
        return []
    return [f"{sample.name}: {100 * count / tokens:.3g} % of the tokens are unknown to the tokenizer; is the model made for this language?"]


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
    if len(chats) > 1 and count >= REPEATED_ANSWER_SHARE * len(chats):
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
    return [f"data.train: {_count(rows)}, fewer than training.globalBatchSize {batch}: one step sees rows twice; {fix}"]


def _uses_plain_template(tokenizer: Any) -> bool:
    return getattr(tokenizer, "chat_template", None) in (None, "", PLAIN_TEMPLATE)


def _size(example: Example) -> int:
    return len(example.text or "") + sum(len(message.content) for message in example.messages or ())


def _roles(example: Example) -> tuple[str, ...]:
    return tuple(message.role for message in example.messages or ())


def _text(example: Example) -> str:
    return example.text or "\n".join(message.content for message in example.messages or ())


def _answer(example: Example) -> str:
    return example.messages[-1].content if example.messages else ""


def _bare(example: Example) -> str:
    """Return what is asked as words in lower case. The roles keep a question apart from a conversation that goes on from it."""
    if example.messages is None:
        return " ".join(WORD.findall((example.text or "").casefold()))
    return "\n".join(f"{turn.role} {' '.join(WORD.findall(turn.content.casefold()))}" for turn in example.messages[:-1])


def _last_learnt(row: Tokens) -> int:
    return next(token for token, learnt in zip(reversed(row.input_ids), reversed(row.loss_mask), strict=True) if learnt)


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"
