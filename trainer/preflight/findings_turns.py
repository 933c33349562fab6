"""What a chat template makes of the rows that the user should know: ends, dates, what it leaves out, what it asks with.

Tests: tests/trainer/preflight/test_findings_turns.py.
"""

from typing import Any

from finetune.api.tasks import TaskName
from trainer.chat.template import TIME_ATTRIBUTE, reads_clock, uses_plain_template
from trainer.chat.turnend import ending_of
from trainer.data.rows import Sample
from trainer.preflight.side import Side
from trainer.text.controls import in_text


def stop_findings(side: Side, tokenizer: Any, task: TaskName) -> list[str]:
    """Find out whether the model learns to end its answers."""
    if task is not TaskName.CHAT:
        return (
            []
            if tokenizer.eos_token_id is not None
            else ["model: the tokenizer has no end-of-sequence token, the end of a text is not learnt"]
        )
    findings = []
    if uses_plain_template(tokenizer):
        findings.append("model: the tokenizer has no chat template; conversations are written as «User: …», «Assistant: …»")
    ending = ending_of(tokenizer)
    whole = [row for row in side.rows if not row.truncated and any(row.loss_mask)]
    if whole and all(_last_learnt(row) not in ending.tokens for row in whole):
        findings.append("model: its chat template ends answers without a special token; the tuned model may not know when to stop")
    elif ending.appended is not None:
        token = tokenizer.convert_ids_to_tokens(ending.appended)
        findings.append(f"model: its chat template writes no token after the last answer; {token} is put there, so that the model stops")
    return findings


def clock_findings(tokenizer: Any, task: TaskName) -> list[str]:
    """Say which day a template writes that reads the clock."""
    moment = getattr(tokenizer, TIME_ATTRIBUTE, None)
    if task is not TaskName.CHAT or moment is None or not reads_clock(tokenizer):
        return []
    return [f"model: its chat template writes the date into every row; the whole run takes {moment[:10]} for today, also when it resumes"]


def turn_findings(side: Side) -> list[str]:
    """Find turns of which the template shows less than was written, and prompts that go on otherwise than the rows do."""
    pairs = list(zip(side.examples, side.conversations, strict=bool(side.conversations)))
    part = "a part of an answer, such as earlier thoughts; only what it shows is learnt"
    found = [
        *(([example for example, seen in pairs if seen.unread == role], f"a {role} message") for role in ("system", "user")),
        ([example for example, seen in pairs if seen.hidden], "an answer, which is not learnt"),
        ([example for example, seen in pairs if seen.shortened], part),
    ]
    findings = [
        f"{side.name}: in {len(rows)} of {side.of()} the model's chat template leaves out {what} (the first: {rows[0].origin})"
        for rows, what in found
        if rows
    ]
    otherwise = [example for example, seen in pairs if seen.own_context]
    if otherwise:
        findings.append(
            f"{side.name}: in {len(otherwise)} of {side.of()} the model's chat template shows the turns before the last answer otherwise"
            f" when it asks for that answer, such as with earlier thoughts (the first: {otherwise[0].origin}); the model is trained and"
            " measured with the form that conversations have once they are answered"
        )
    asked = [(example, seen.own_heading) for example, seen in pairs if seen.own_heading]
    if asked:
        first, heading = asked[0]
        findings.append(
            f"{side.name}: the model's chat template asks for an answer with {heading.strip() or heading!r}, which {len(asked)} of"
            f" {side.of()} do not begin with (the first: {first.origin}); the model is trained and measured without it, and elsewhere"
            " it will be asked with it: write the thoughts into the rows, or give the model another chat template"
        )
    return findings


def special_token_findings(side: Side, tokenizer: Any) -> list[str]:
    """Find texts that hold the names of control tokens, which become text and no control tokens."""
    texts = {id(example): example for example in side.examples if example.messages is None}.values()
    named = [(example, found[0]) for example in texts if (found := in_text(tokenizer).search(example.text or ""))]
    named += [(example, seen.control) for example, seen in zip(side.examples, side.conversations, strict=False) if seen.control]
    if not named:
        return []
    first, name = named[0]
    rows = "1 row has" if len(named) == 1 else f"{len(named)} rows have"
    fix = "" if first.messages is not None else "; conversations belong into messages, with task: chat"
    return [f"{side.name}: {rows} names of control tokens in the text, such as {name} ({first.origin}); they are read as text{fix}"]


def _last_learnt(row: Sample) -> int:
    return next(token for token, learnt in zip(reversed(row.input_ids), reversed(row.loss_mask), strict=True) if learnt)
