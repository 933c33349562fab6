"""Warnings about what a chat template does to the rows: how answers end, dates, what it leaves out, what prompts end with.

Tests: tests/trainer/chat/test_findings.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainer.chat.example import ChatExample
from trainer.chat.template import TIME_ATTRIBUTE, reads_clock, uses_plain_template
from trainer.chat.tokens import read_all
from trainer.chat.turnend import ending_of
from trainer.chat.turns import Conversation
from trainer.data.rows import Piece, Sample
from trainer.data.sampled import Each, Keep, Sampled, in_memory
from trainer.text.findings import control_token_findings


@dataclass(frozen=True)
class ReadConversations(Sampled[ChatExample]):
    """Conversations of a data set, with how the template rendered each."""

    conversations: Sequence[Conversation]


def read_conversations(
    name: str, examples: Sequence[ChatExample], tokenizer: Any, max_length: int, keep: Keep = in_memory
) -> ReadConversations:
    """Return conversations as the model will see them; all are read, because each may reach a different branch of the template.

    Most are rendered alike, so equal results are kept once.
    """
    different: dict[Conversation, Conversation] = {}
    conversations: list[Conversation] = []

    def pieces() -> Iterator[Piece[ChatExample]]:
        for reading in read_all(examples, tokenizer):
            seen = replace(reading.conversation, text="", turns=(), literals=())
            conversations.append(different.setdefault(seen, seen))
            yield Piece(reading.example, reading.tokens(tokenizer, max_length))

    return ReadConversations(name, len(examples), len(examples), keep(name, examples, pieces()), conversations)


def stop_findings(side: Sampled[ChatExample], tokenizer: Any) -> list[str]:
    """Return findings on whether the model learns to end its answers."""
    findings = []
    if uses_plain_template(tokenizer):
        findings.append("model: the tokenizer has no chat template; conversations are written as «User: …», «Assistant: …»")
    ending = ending_of(tokenizer)
    ends = {_last_learned(row) for row in side.rows if not row.truncated and any(row.loss_mask)}
    if ends and not ends & set(ending.tokens):
        findings.append("model: its chat template ends answers without a special token; the tuned model may not know when to stop")
    elif ending.appended is not None:
        token = tokenizer.convert_ids_to_tokens(ending.appended)
        findings.append(f"model: its chat template writes no token after the last answer; {token} is added, so the model learns to stop")
    return findings


def clock_findings(tokenizer: Any) -> list[str]:
    """Report the date that a template which reads the clock will write."""
    moment = getattr(tokenizer, TIME_ATTRIBUTE, None)
    if moment is None or not reads_clock(tokenizer):
        return []
    return [f"model: its chat template writes the date into every row; the whole run uses {moment[:10]}, also when it resumes"]


def turn_findings(side: ReadConversations) -> list[str]:
    """Find turns that the template shows only in part, and prompts that it continues differently from the rows."""

    def rows_where(wanted: Callable[[Conversation], object]) -> list[int]:
        return [index for index, seen in enumerate(side.conversations) if wanted(seen)]

    def first_of(rows: list[int]) -> str:
        return f"the first: {side.examples[rows[0]].origin}"

    part = "a part of an answer, such as earlier thoughts; only what it shows is learned"
    found = [
        (rows_where(lambda seen: seen.unread == "system"), "a system message"),
        (rows_where(lambda seen: seen.unread == "user"), "a user message"),
        (rows_where(lambda seen: seen.hidden), "an answer, which is not learned"),
        (rows_where(lambda seen: seen.shortened), part),
    ]
    findings = [
        f"{side.name}: in {len(rows)} of {side.of()} the model's chat template leaves out {what} ({first_of(rows)})"
        for rows, what in found
        if rows
    ]
    otherwise = rows_where(lambda seen: seen.own_context)
    if otherwise:
        findings.append(
            f"{side.name}: in {len(otherwise)} of {side.of()} the model's chat template shows the turns before the last answer differently"
            f" in the prompt for that answer, for example with earlier thoughts ({first_of(otherwise)}); the model is trained and"
            " evaluated on the form that finished conversations have"
        )
    asked = rows_where(lambda seen: seen.own_heading)
    if asked:
        heading = side.conversations[asked[0]].own_heading
        findings.append(
            f"{side.name}: the model's chat template ends a prompt with {heading.strip() or heading!r}, which the answers in"
            f" {len(asked)} of {side.of()} do not begin with ({first_of(asked)}); the model is trained and evaluated without it,"
            " but other tools will prompt with it: write the thoughts into the rows, or give the model another chat template"
        )
    return findings


def control_findings(side: ReadConversations) -> list[str]:
    """Find turns that contain the names of control tokens."""
    named = [index for index, seen in enumerate(side.conversations) if seen.control]
    return control_token_findings(side.name, Each(named, lambda index: (side.examples[index], side.conversations[index].control)))


def _last_learned(row: Sample) -> int:
    return next(token for token, learned in zip(reversed(row.input_ids), reversed(row.loss_mask), strict=True) if learned)
