"""Warnings about what a chat template does to the rows: how answers end, dates, what it leaves out, what prompts end with.

Tests: tests/trainer/chat/test_findings.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainer.chat.calls import call_end_of
from trainer.chat.example import ChatExample
from trainer.chat.template import TIME_ATTRIBUTE, reads_clock, uses_plain_template
from trainer.chat.turnend import ending_of
from trainer.chat.turns import Conversation
from trainer.data.rows import Sample
from trainer.data.sampled import Each, Sampled
from trainer.data.shards import notes_of
from trainer.text.findings import control_token_findings


def conversation_findings(sides: Sequence[Sampled[ChatExample]], tokenizer: Any) -> list[str]:
    """Return all findings on data sets, of which the first is that of the training rows."""
    return [
        *stop_findings(sides[0], tokenizer),
        *clock_findings(tokenizer),
        *(finding for side in sides for finding in turn_findings(side)),
        *(finding for side in sides for finding in control_findings(side)),
    ]


def stop_findings(side: Sampled[ChatExample], tokenizer: Any) -> list[str]:
    """Return findings on whether the model learns to end its answers."""
    findings = []
    if uses_plain_template(tokenizer):
        findings.append("model: the tokenizer has no chat template; conversations are written as «User: …», «Assistant: …»")
    ending = ending_of(tokenizer)
    ends = {_last_learned(row) for row in side.rows if not row.truncated and any(row.loss_mask)}
    if ends and not ends & (ending.tokens | call_end_of(tokenizer).tokens):
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


def rows_where(side: Sampled[ChatExample], wanted: Callable[[Conversation], object]) -> tuple[list[int], Conversation | None]:
    """Return the rows that the template renders in a certain way, and what was noted about the first of them."""
    notes, numbers = notes_of(side.pieces)
    seen = [Conversation.noted(note) for note in notes]
    rows = np.flatnonzero(np.isin(numbers, [number for number, one in enumerate(seen) if wanted(one)])).tolist()
    return rows, seen[numbers[rows[0]]] if rows else None


def turn_findings(side: Sampled[ChatExample]) -> list[str]:
    """Find turns that the template shows only in part, and prompts that it continues differently from the rows."""

    def first_of(rows: list[int]) -> str:
        return f"the first: {side.examples[rows[0]].origin}"

    part = "a part of an answer; only what it shows is learned"
    found = [
        (rows_where(side, lambda seen: seen.unread == "system")[0], "a system message"),
        (rows_where(side, lambda seen: seen.unread == "user")[0], "a user message"),
        (rows_where(side, lambda seen: seen.hidden)[0], "an answer, which is not learned"),
        (rows_where(side, lambda seen: seen.shortened)[0], part),
        (rows_where(side, lambda seen: seen.unread == "tool")[0], "the answer of a tool"),
        (rows_where(side, lambda seen: seen.beside)[0], "what an answer says beside the tools that it calls, which is not learned"),
        (rows_where(side, lambda seen: seen.unnamed)[0], "the name of a message"),
    ]
    findings = [
        f"{side.name}: in {len(rows)} of {side.of()} the model's chat template leaves out {what} ({first_of(rows)})"
        for rows, what in found
        if rows
    ]
    findings += thought_findings(side)
    otherwise, _ = rows_where(side, lambda seen: seen.own_context)
    if otherwise:
        findings.append(
            f"{side.name}: in {len(otherwise)} of {side.of()} the model's chat template shows the turns before the last answer differently"
            f" in the prompt for that answer, for example with earlier thoughts ({first_of(otherwise)}); the model is trained and"
            " evaluated on the form that finished conversations have"
        )
    asked, first = rows_where(side, lambda seen: seen.own_heading)
    if first is not None:
        heading = first.own_heading
        findings.append(
            f"{side.name}: the model's chat template ends a prompt with {heading.strip() or heading!r}, which the answers in"
            f" {len(asked)} of {side.of()} do not begin with ({first_of(asked)}); the model is trained and evaluated without it,"
            " but other tools will prompt with it: write the thoughts into the rows, or give the model another chat template"
        )
    return findings


def thought_findings(side: Sampled[ChatExample]) -> list[str]:
    """Report how many thoughts of the answers the template shows and how many it leaves out; in a prompt it does the same."""
    notes, numbers = notes_of(side.pieces)
    seen = [Conversation.noted(note) for note in notes]
    kept = sum(seen[number].kept for number in numbers.tolist())
    dropped = sum(seen[number].dropped for number in numbers.tolist())
    where, _ = rows_where(side, lambda one: one.dropped if dropped else one.kept)
    if not where:
        return []
    what = f"shows every thought, {kept} in all"
    if dropped:
        what = f"leaves out thoughts, {dropped} of {kept + dropped}; only what it shows is learned"
    return [f"{side.name}: in {len(where)} of {side.of()} the model's chat template {what} (the first: {side.examples[where[0]].origin})"]


def control_findings(side: Sampled[ChatExample]) -> list[str]:
    """Find turns that contain the names of control tokens."""
    named, first = rows_where(side, lambda seen: seen.control)
    return control_token_findings(side.name, Each(named, lambda index: (side.examples[index], first.control if first else "")))


def _last_learned(row: Sample) -> int:
    return next(token for token, learned in zip(reversed(row.input_ids), reversed(row.loss_mask), strict=True) if learned)
