"""Warnings about tokenized text, for any task.

Tests: tests/trainer/chat/test_findings.py, tests/trainer/tasks/test_conformance.py.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from trainer.data.rows import Example
from trainer.data.sampled import Sampled
from trainer.text.controls import in_text
from trainer.text.pair import PairExample

P = TypeVar("P", bound=PairExample)

CONVERSATIONS_FIX = "; write conversations as messages, with task: chat"


def end_findings(tokenizer: Any) -> list[str]:
    """Report a tokenizer without an end-of-sequence token: the end of a text is then not learned."""
    if tokenizer.eos_token_id is not None:
        return []
    return ["model: the tokenizer has no end-of-sequence token, so the end of a text is not learned"]


def pair_findings(side: Sampled[P], tokenizer: Any) -> list[str]:
    """Find prompts and answers that contain the names of control tokens."""
    named = [
        (example, found[0])
        for example in side.examples
        if (found := in_text(tokenizer).search(f"{example.given}\n{example.answer}")) is not None
    ]
    return control_token_findings(side.name, named, CONVERSATIONS_FIX)


def text_findings(side: Sampled[Any], tokenizer: Any) -> list[str]:
    """Find texts that contain the names of control tokens, in examples that have a `text`."""
    texts = {id(example): example for example in side.examples}.values()
    named = [(example, found[0]) for example in texts if (found := in_text(tokenizer).search(example.text))]
    return control_token_findings(side.name, named, CONVERSATIONS_FIX)


def control_token_findings(side: str, named: Sequence[tuple[Example, str]], fix: str = "") -> list[str]:
    """Report rows that contain control-token names, each given with its first name: there they are plain text."""
    if not named:
        return []
    first, name = named[0]
    rows = "1 row has" if len(named) == 1 else f"{len(named)} rows have"
    return [f"{side}: {rows} names of control tokens in the text, such as {name} ({first.origin}); they are read as text{fix}"]
