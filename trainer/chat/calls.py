"""How a chat template shows a turn that calls tools: in which form it reads the call, and how it ends the turn.

Found by rendering sample conversations, as turnend.py does for answers. Tests: tests/trainer/chat/test_calls.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.chat.example import Call, Message
from trainer.chat.marking import CALLS, Written, locate
from trainer.chat.template import OBJECTS, TIME_ATTRIBUTE, CallForm, Wire, template_of, wire_of, write
from trainer.text.controls import NEVER, markup_ids

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "gamma",
            "description": "theta",
            "parameters": {"type": "object", "properties": {"mu": {"type": "string", "description": "iota"}}, "required": ["mu"]},
        },
    }
]
SYSTEM, USER = Message("system", "alpha"), Message("user", "beta")
# Nine letters and digits: some templates accept no other ids.
FIRST, SECOND = Call("gamma", '{"kappa": "delta"}', "abcdefgh1"), Call("gamma", '{"kappa": "lambda"}', "abcdefgh2")
CALLING = Message("assistant", "", calls=(FIRST,))
RESULT, ANSWER = Message("tool", "epsilon", call_id=FIRST.id, name="gamma"), Message("assistant", "zeta")
BEGINNINGS: tuple[tuple[Message, ...], ...] = ((USER,), (SYSTEM, USER))
FORMS = (OBJECTS, CallForm(absent=True), CallForm(text=True), CallForm(text=True, absent=True))


@dataclass(frozen=True)
class CallEnd:
    """How a turn that calls tools is read and ends."""

    form: CallForm = OBJECTS
    shown: bool = False
    """The template shows calls."""
    tokens: frozenset[int] = frozenset()
    """Ids of the tokens that end such a turn."""
    inner: frozenset[int] = frozenset()
    """Ids of markup between its words, at which generation does not stop."""
    appended: int | None = None
    """Id of the token that is added after a last turn because the template writes none there."""


def call_end_of(tokenizer: Any) -> CallEnd:
    """Return how the tokenizer's chat template shows calls of tools."""
    return _call_end(tokenizer, template_of(tokenizer, TOOLS), getattr(tokenizer, TIME_ATTRIBUTE, None))


@lru_cache(maxsize=8)
def _call_end(tokenizer: Any, template: str, moment: str | None) -> CallEnd:
    """Return the ending; template and time are part of the cache key because they can change on a tokenizer."""
    for beginning in BEGINNINGS:
        for form in FORMS:
            whole = wire_of((*beginning, CALLING, RESULT, ANSWER), form)
            if _reads(tokenizer, whole, form):
                return _ending(tokenizer, whole, len(beginning), form)
    return CallEnd()


def _reads(tokenizer: Any, turns: Sequence[Wire], form: CallForm) -> bool:
    """Return whether the template writes the call as JSON or in a form of its own, not as an object of Python or a text in a text."""
    try:
        text = write(tokenizer, turns, TOOLS)
    except Exception:  # a template can raise anything
        return False
    without = [{key: value for key, value in turn.items() if key != CALLS} for turn in turns]
    try:
        shown = text.count("delta") > write(tokenizer, without, TOOLS).count("delta")
    except Exception:
        shown = "delta" in text
    return shown and not any(wrong in text for wrong in ("{'kappa'", '\\"kappa\\"'))


def _ending(tokenizer: Any, whole: Sequence[Wire], turn: int, form: CallForm) -> CallEnd:
    middle, last = _located(tokenizer, whole), _located(tokenizer, whole[: turn + 1])
    own, result = (middle.of_turn(turn), middle.of_turn(turn + 1)) if middle is not None else ([], [])
    if middle is None or not own or not result:
        return CallEnd(form, shown=True)
    final = last.of_turn(turn) if last is not None else []
    # A template may name the tool again where it shows its answer.
    own = own[: len(final)] or own
    after = _markup(tokenizer, middle.text[own[-1].end : result[0].start])
    ends = _markup(tokenizer, last.text[final[-1].end :]) if last is not None and final else []
    inner = _inner(tokenizer, whole[:turn], form)
    if set(after) <= inner:  # each call is a turn of its own
        inner = frozenset()
    after, ends = ([token for token in tokens if token not in inner] for tokens in (after, ends))
    common = next((index for index, pair in enumerate(zip(after, ends, strict=False)) if pair[0] != pair[1]), min(len(after), len(ends)))
    if common:
        return CallEnd(form, True, frozenset(ends[common - 1 : common]), inner)
    if ends:
        return CallEnd(form, True, frozenset([ends[0], *after[:1]]), inner)
    eos = tokenizer.eos_token_id
    appended = after[0] if after else None if eos is None else int(eos)
    return CallEnd(form, True, frozenset() if appended is None else frozenset([appended]), inner, appended)


def _inner(tokenizer: Any, beginning: Sequence[Wire], form: CallForm) -> frozenset[int]:
    """Return the markup between the words of a turn and its calls, and between two calls."""
    found: set[int] = set()
    for message in (Message("assistant", "omega", calls=(FIRST,)), Message("assistant", "", calls=(FIRST, SECOND))):
        written = _located(tokenizer, [*beginning, *wire_of((message,), form)])
        own = written.of_turn(len(beginning)) if written is not None else []
        if written is not None and own:
            found.update(_markup(tokenizer, written.text[own[0].end : own[-1].start]))
    return frozenset(found)


def _located(tokenizer: Any, turns: Sequence[Wire]) -> Written | None:
    try:
        found = locate(lambda some, tools: write(tokenizer, some, tools), turns, TOOLS, lambda role: NEVER)
    except Exception:  # errors on real rows are reported with the row
        return None
    return found[0] if found is not None else None


def _markup(tokenizer: Any, text: str) -> list[int]:
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else []
    return [int(token) for token in tokens if int(token) in markup_ids(tokenizer)]
