"""How a chat template ends an assistant turn. The loss mask, doctor, generation and export all use this.

Found by rendering a sample conversation and looking at what follows a middle answer and the last one.
Tests: tests/trainer/chat/test_turnend.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.chat.calls import call_end_of
from trainer.chat.marking import Marker, Written, locate
from trainer.chat.template import TIME_ATTRIBUTE, Wire, template_of, write
from trainer.text.controls import NEVER, TAG, markup_ids
from trainer.text.encoding import sequence_ends

ATOM = re.compile(rf"{TAG}|\w+|.", re.DOTALL)

SYSTEM = {"role": "system", "content": "alpha"}
TALK = (
    {"role": "user", "content": "beta"}, {"role": "assistant", "content": "gamma"},
    {"role": "user", "content": "delta"}, {"role": "assistant", "content": "epsilon"},
)  # fmt: skip
PROBES: tuple[tuple[Wire, ...], ...] = (TALK, (SYSTEM, *TALK), TALK[:2], (SYSTEM, *TALK[:2]))
"""Some templates require a system message, some reject it, some accept only one question and answer."""


@dataclass(frozen=True)
class TurnEnd:
    """How an assistant turn ends."""

    tokens: frozenset[int] = frozenset()
    """Ids of the tokens that end it."""
    inner: frozenset[int] = frozenset()
    """Those that also occur between the thoughts and the answer of a turn: generation does not stop there."""
    text: str = ""
    """Text after every answer, if no token ends it."""
    appended: int | None = None
    """Id of the token that is added after the last answer because the template writes none there."""
    opening: str = ""
    """What the template writes between the start of generation and the words of the last answer."""
    shows_thoughts: bool = False
    """The template writes the thoughts (reasoning_content) of the last answer."""


def ending_of(tokenizer: Any) -> TurnEnd:
    """Return how the tokenizer's chat template, or the plain one, ends a turn."""
    return _ending(tokenizer, template_of(tokenizer), getattr(tokenizer, TIME_ATTRIBUTE, None))


def turn_stops(tokenizer: Any) -> frozenset[int]:
    """Return the tokens at which generation stops because they end a turn; without a chat template there are no turns."""
    if not getattr(tokenizer, "chat_template", None):
        return frozenset()
    ending, call = ending_of(tokenizer), call_end_of(tokenizer)
    return frozenset(int(token) for token in (ending.tokens | call.tokens) - ending.inner - call.inner)


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return every token that ends an answer: end of sequence by model and tokenizer, end of turn by the chat template."""
    return sorted(turn_stops(tokenizer) | sequence_ends(model, tokenizer))


def opening_ids(tokenizer: Any) -> list[int]:
    """Return the tokens that the chat template writes between the start of generation and the words of an answer."""
    opening = ending_of(tokenizer).opening if getattr(tokenizer, "chat_template", None) else ""
    return [int(token) for token in tokenizer(opening, add_special_tokens=False, verbose=False)["input_ids"]] if opening else []


def common_beginning(text: str, wanted: str) -> int:
    """Return how many characters of `wanted` the text begins with, by whole tags and words."""
    shorter = min(len(text), len(wanted))
    length = next((place for place in range(shorter) if text[place] != wanted[place]), shorter)
    if length == len(wanted):
        return length
    return max((found.end() for found in ATOM.finditer(wanted) if found.end() <= length), default=0)


@lru_cache(maxsize=8)
def _ending(tokenizer: Any, template: str, moment: str | None) -> TurnEnd:
    """Return the ending; template and time are part of the cache key because they can change on a tokenizer."""
    for probe in PROBES:
        found = _located(tokenizer, probe)
        if found is not None and found[0].of_turn(len(probe) - 1):
            return _read_probe(tokenizer, probe, *found)
    # The template rejects all probes: assume the end-of-sequence token.
    return TurnEnd(tokens=frozenset() if tokenizer.eos_token_id is None else frozenset({int(tokenizer.eos_token_id)}))


def _read_probe(tokenizer: Any, probe: Sequence[Wire], written: Written, marker: Marker) -> TurnEnd:
    last = written.text[written.of_turn(len(probe) - 1)[-1].end :]
    middle = _after_first_answer(probe, written)
    opening = _opening(tokenizer, probe, written, marker)
    thoughtful = [*probe[:-1], {**probe[-1], "reasoning_content": "zeta"}]
    found = _located(tokenizer, thoughtful)
    thought = found[0] if found is not None else None
    shows_thoughts = any(stretch.piece.part == "reasoning_content" for stretch in thought.stretches) if thought else False
    everywhere = last if middle is None else last[: common_beginning(last, middle)]
    if marks := _markup(tokenizer, everywhere):
        return TurnEnd(frozenset(marks[-1:]), opening=opening, shows_thoughts=shows_thoughts)
    at_the_end, in_the_middle = _markup(tokenizer, last)[:1], _markup(tokenizer, middle or "")[:1]
    if at_the_end:
        inner = frozenset(in_the_middle).intersection(_markup(tokenizer, _inside(thought, len(probe) - 1)))
        is_heading = middle is not None and _begins_conversations(tokenizer, middle)
        ends = frozenset(at_the_end if is_heading else [*at_the_end, *in_the_middle])
        return TurnEnd(ends, inner, opening=opening, shows_thoughts=shows_thoughts)
    appended = in_the_middle or ([] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)])
    text = "" if in_the_middle else everywhere
    return TurnEnd(frozenset(appended), frozenset(), text, appended[0] if appended else None, opening, shows_thoughts)


def _located(tokenizer: Any, turns: Sequence[Wire]) -> tuple[Written, Marker] | None:
    try:
        return locate(lambda some, tools: write(tokenizer, some, tools), turns, None, lambda role: NEVER)
    except Exception:  # a template can raise anything; errors on real rows are reported with the row
        return None


def _after_first_answer(probe: Sequence[Wire], written: Written) -> str | None:
    """Return the text between the first answer and the next question; None if the probe has only one answer."""
    first = next(index for index, turn in enumerate(probe) if turn["role"] == "assistant")
    answer, question = written.of_turn(first), written.of_turn(first + 1)
    return written.text[answer[-1].end : question[0].start] if answer and question else None


def _opening(tokenizer: Any, probe: Sequence[Wire], written: Written, marker: Marker) -> str:
    asked, answer = written.of_turn(len(probe) - 2), written.of_turn(len(probe) - 1)
    try:
        prompt = marker.write(lambda turns, tools: write(tokenizer, turns, tools, generation_prompt=True), len(probe) - 1)
    except Exception:
        return ""
    found = prompt.of_turn(len(probe) - 2)
    if not asked or not found:
        return ""
    before = written.text[asked[-1].end : answer[0].start]
    return before[common_beginning(before, prompt.text[found[-1].end :]) :]


def _inside(thought: Written | None, turn: int) -> str:
    """Return the text between the thoughts and the answer of a turn: a token there does not end the turn."""
    found = thought.of_turn(turn) if thought is not None else []
    return thought.text[found[0].end : found[-1].start] if thought is not None and len(found) > 1 else ""


def _begins_conversations(tokenizer: Any, middle: str) -> bool:
    """Return whether what follows an answer is only the heading of the next question, as at the start of a conversation."""
    found = _located(tokenizer, TALK[:2])
    question = found[0].of_turn(0) if found is not None else []
    if found is None or not question:
        return False
    before = found[0].text[: question[0].start].removeprefix(str(getattr(tokenizer, "bos_token", None) or ""))
    return before.strip() == middle.strip()


def _markup(tokenizer: Any, text: str) -> list[int]:
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else []
    return [int(token) for token in tokens if int(token) in markup_ids(tokenizer)]
