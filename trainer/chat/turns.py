"""Finds what a model learns from a conversation: each assistant turn, from where generation starts to the end of the turn.

In every row, the learned tokens cover the visible words of the turn and no word of another turn, or the row is refused.
Tests: tests/trainer/chat/test_turns.py.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from finetune.api.errors import InputError
from trainer.chat.calls import call_end_of
from trainer.chat.example import ChatExample
from trainer.chat.marking import TOOLS, WORDS, Marker, Piece, Stretch, Way, Written, locate
from trainer.chat.shown import check_ids, check_what_is_shown, drop_repeats
from trainer.chat.template import OBJECTS, Wire, render, template_of, tools_of, wire_of
from trainer.chat.turnend import common_beginning, ending_of
from trainer.text.controls import in_answers, in_turns

THOUGHT_END = re.compile(r"</(think|thought|reason)\w*>|\[/(think|thought|reason)\w*\]", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """Where an assistant turn is in the rendered conversation, in characters."""

    start: int
    """Where generation starts."""
    words_end: int
    """After its last visible word."""
    text_end: int
    """End of the turn if no token marks it."""
    limit: int
    """Where the words of the next turn begin, or the end of the text."""
    learned: bool
    last: bool
    """Whether it is the conversation's last turn."""
    calls: bool = False
    """It calls tools."""


@dataclass(frozen=True)
class Conversation:
    """A row as its template renders it."""

    text: str
    turns: tuple[Turn, ...]
    literals: tuple[tuple[int, int], ...]
    """Names of control tokens inside messages; they are encoded as text."""
    control: str = ""
    """The first of them."""
    hidden: bool = False
    """The template leaves out an answer that should be learned."""
    shortened: bool = False
    """The template leaves out part of an answer that is not a thought."""
    unread: str = ""
    """Role of a message before the answers that the template leaves out."""
    own_context: bool = False
    """The generation prompt for the last answer shows the earlier turns differently than the row."""
    own_heading: str = ""
    """What the generation prompt for the last answer adds to the row."""
    beside: bool = False
    """The template leaves out what an answer says beside the tools that it calls."""
    unnamed: str = ""
    """Role of a message whose name the template leaves out."""
    kept: int = 0
    """Thoughts of answers that the template shows."""
    dropped: int = 0
    """Thoughts that it leaves out."""

    def note(self) -> str:
        """Return everything but the text and the positions in it, for findings; most conversations have the same."""
        seen = (self.control, self.hidden, self.shortened, self.unread, self.own_context, self.own_heading)
        return json.dumps([*seen, self.beside, self.unnamed, self.kept, self.dropped])

    @classmethod
    def noted(cls, note: str) -> "Conversation":
        """Return what `note` wrote down."""
        return cls("", (), (), *json.loads(note))


def conversation_of(example: ChatExample, tokenizer: Any) -> Conversation:
    """Return the rendered row with the positions of its assistant turns; raises InputError if they cannot be found."""
    messages = example.messages
    calling = any(message.calls for message in messages)
    turns, tools = wire_of(messages, call_end_of(tokenizer).form if calling else OBJECTS), tools_of(example)
    template = template_of(tokenizer, tools)

    def controls(role: str) -> Any:
        return in_answers(tokenizer, template) if role == "assistant" else in_turns(tokenizer, template)

    check_ids(example, controls("tool"))

    def draw(some: Sequence[Wire], offered: Sequence[Any] | None) -> str:
        return render(example, some, offered, tokenizer)

    found = locate(draw, turns, tools, controls)
    if found is None:
        raise _inseparable(example)
    written, marker = found
    if calling:
        drop_repeats(written, marker, draw)
    check_what_is_shown(example, written, marker, tokenizer)
    reader = _Reader(example, tokenizer, written, marker)
    spoken = [index for index, message in enumerate(messages) if message.role == "assistant"]
    shown = [index for index in spoken if written.of_turn(index)]
    wanted = [index for index in spoken if messages[index].learned]
    if not any(index in shown for index in wanted) and wanted:
        raise _inseparable(example)
    places, literals = tuple(reader.turn(index) for index in shown), _literals(written, marker)
    lost = {index: reader.lost(index) for index in spoken}
    thoughtful = [index for index in spoken if messages[index].reasoning or THOUGHT_END.search(messages[index].content)]
    dropped = [index for index in thoughtful if lost[index]]
    cut = [index for index in wanted if index in shown and lost[index]]
    beside = [index for index in cut if index not in dropped and messages[index].calls]
    return Conversation(
        written.text,
        places,
        literals,
        control=written.text[slice(*literals[0])] if literals else "",
        hidden=any(index not in shown for index in wanted),
        shortened=any(index not in dropped and index not in beside for index in cut),
        unread=next((m.role for i, m in enumerate(messages) if i not in spoken and m.content.strip() and not written.of_turn(i)), ""),
        own_context=bool(cut) and reader.asks_otherwise(),
        own_heading=reader.own_heading,
        beside=bool(beside),
        unnamed=next((messages[piece.turn].role for piece in marker.pieces if piece.part == "name" and reader.is_unnamed(piece)), ""),
        kept=len(thoughtful) - len(dropped),
        dropped=len(dropped),
    )


class _Reader:
    """Reads the positions of turns from a marked conversation."""

    def __init__(self, example: ChatExample, tokenizer: Any, written: Written, marker: Marker) -> None:
        self.example, self.tokenizer, self.written, self.marker = example, tokenizer, written, marker
        self.messages = example.messages
        self.ending, self.call_end = ending_of(tokenizer), call_end_of(tokenizer)
        self.own_heading = ""

    def turn(self, index: int) -> Turn:
        """Return the position of a turn that is at least partly visible."""
        text, stretches = self.written.text, self.written.stretches
        own = [number for number, stretch in enumerate(stretches) if stretch.piece.turn == index]
        before = stretches[own[0] - 1] if own[0] > 0 else None
        limit = stretches[own[-1] + 1].start if own[-1] + 1 < len(stretches) else len(text)
        words_end = self._with_tags(stretches[own[-1]], limit)
        start = self._start(index, stretches[own[0]].start, before)
        if len(own) != own[-1] - own[0] + 1 or self._shown_twice([stretches[number] for number in own]):
            raise _inseparable(self.example)
        learned, is_last = self.messages[index].learned, index == len(self.messages) - 1
        if self.messages[index].calls:
            end = self._call_end(index, words_end, limit)
            return Turn(start, end, end, limit, learned, is_last, calls=True)
        return Turn(start, words_end, self._text_end(index, words_end), limit, learned, is_last)

    def _call_end(self, index: int, words_end: int, limit: int) -> int:
        """Return where a turn that calls tools ends: at its end token, or where the conversation up to it ends."""
        text, names = self.written.text, self.tokenizer.convert_ids_to_tokens(sorted(self.call_end.tokens))
        found = [place for name in names if (place := text.find(name, words_end, limit)) >= 0]
        if found:
            return min(found)
        until = render(self.example, self.marker.turns[: index + 1], self.marker.tools, self.tokenizer)
        same = next((place for place, pair in enumerate(zip(text, until, strict=False)) if pair[0] != pair[1]), min(len(text), len(until)))
        return max(words_end, min(same, limit))

    def asks_otherwise(self) -> bool:
        """Return whether the generation prompt for the last answer shows the turns before it differently."""
        answer = self.written.of_turn(self.example.answer_index)
        before = [stretch for stretch in self.written.stretches if answer and stretch.end <= answer[0].start]
        prompt = self._prompt(self.example.answer_index)
        if prompt is None or not before:
            return False
        end = self._end_in(prompt, before[-1])
        return end is None or prompt.text[:end] != self.written.text[: before[-1].end]

    def lost(self, index: int) -> bool:
        """Return whether the template left out words of an answer."""
        pieces = [piece for piece in self.marker.pieces if piece.turn == index and piece.part in WORDS]
        return any(len(self._of(piece)) < self._marked(piece) for piece in pieces)

    def is_unnamed(self, piece: Piece) -> bool:
        """Return whether the template left out a name; that of a tool is in the call that the message answers."""
        return self.messages[piece.turn].role != "tool" and not self._of(piece)

    def _marked(self, piece: Piece) -> int:
        """Return how many stretches of a piece were marked."""
        return 1 if self._way(piece) is Way.EDGES else sum(is_word for _, is_word in piece.atoms())

    def _way(self, piece: Piece) -> Way:
        return next(way for own, way in zip(self.marker.pieces, self.marker.ways, strict=True) if own is piece)

    def _of(self, piece: Piece) -> list[Stretch]:
        return [stretch for stretch in self.written.stretches if stretch.piece is piece]

    def _shown_twice(self, own: Sequence[Stretch]) -> bool:
        # A name may be in the heading of a turn too, and in that of its call.
        pieces = {id(stretch.piece): stretch.piece for stretch in own if stretch.piece.part in WORDS}
        return any(len(self._of(piece)) > self._marked(piece) for piece in pieces.values())

    def _with_tags(self, last: Stretch, limit: int) -> int:
        """Return where the words end, including the answer's own tags after them, which are not marked."""
        tail = "" if self._way(last.piece) is Way.EDGES or last.piece.call is not None else last.piece.tail.rstrip()
        return next((end for form in _forms(tail) if (end := self._behind(form, last.end)) and end <= limit), last.end)

    def _text_end(self, index: int, words_end: int) -> int:
        """Return where a turn without an end token ends: after the answer's own white space and the template's ending."""
        content = self.messages[index].content
        space = content[len(content.rstrip()) :]
        # A template may trim part of the white space, or escape it as in JSON.
        text = self.written.text[words_end : words_end + len(space)]
        kept = next((place for place, (own, shown) in enumerate(zip(space, text, strict=False)) if own != shown), len(text))
        forms = [*_forms(space), *(space[:length] for length in range(kept, -1, -1))]
        whole = (end for form in forms if (end := self._behind(form + self.ending.text, words_end)))
        return next(whole, self._behind(space, words_end) or words_end)

    def _behind(self, form: str, place: int) -> int | None:
        """Return where a text that starts at a place ends, ignoring case; None if it does not start there."""
        end = place + len(form)
        return end if self.written.text[place:end].casefold() == form.casefold() else None

    def _start(self, index: int, first: int, before: Stretch | None) -> int:
        """Return where generation of a turn starts: after the text before its words that row and generation prompt share."""
        anchor = before.end if before is not None else 0
        gap = self.written.text[anchor:first]
        # Rendered for every turn: a generation prompt may depend on the words, such as a user's /no_think.
        prompt = self._prompt(index)
        asked = self._asked_with(prompt, before) if prompt is not None else None
        length = common_beginning(gap, asked) if asked is not None else len(gap)
        if index == self.example.answer_index:
            self.own_heading = "" if asked is None else asked[length:]
        return anchor + length

    def _prompt(self, index: int) -> Written | None:
        """Return the generation prompt of a turn; None if the template rejects it and no answer is generated there."""

        def draw(turns: Sequence[Any], tools: Sequence[Any] | None) -> str:
            return render(self.example, turns, tools, self.tokenizer, generation_prompt=True)

        try:
            return self.marker.write(draw, until=index)
        except InputError:
            if index == self.example.answer_index:
                raise
            return None

    def _asked_with(self, prompt: Written, before: Stretch | None) -> str | None:
        """Return what the prompt has after the words before the answer; None if it leaves those out."""
        end = 0 if before is None else self._end_in(prompt, before)
        return None if end is None else prompt.text[end:]

    def _end_in(self, prompt: Written, words: Stretch) -> int | None:
        """Return where words of the row end in a prompt, which may repeat them later; None if they are missing."""
        shown = sum(stretch.end <= words.end for stretch in self._of(words.piece))
        ends = [stretch.end for stretch in prompt.stretches if stretch.piece is words.piece]
        return ends[min(shown, len(ends)) - 1] if ends else None


def _forms(text: str) -> tuple[str, ...]:
    """Return the forms in which templates write a text: unchanged, JSON-escaped, or HTML-escaped."""
    return text, json.dumps(text, ensure_ascii=False)[1:-1], escape(text)


def _literals(written: Written, marker: Marker) -> tuple[tuple[int, int], ...]:
    ways = {id(piece): way for piece, way in zip(marker.pieces, marker.ways, strict=True)}
    found = []
    for stretch in written.stretches:
        if stretch.piece.turn == TOOLS or stretch.piece.call is not None or ways[id(stretch.piece)] is Way.EDGES:
            names = stretch.piece.controls.finditer(written.text, stretch.start, stretch.end)
            found += [name.span() for name in names]
        elif stretch.piece.controls.fullmatch(written.text, stretch.start, stretch.end):
            found.append((stretch.start, stretch.end))
    return tuple(found)


def _inseparable(example: ChatExample) -> InputError:
    fix = "use a model whose template shows each answer once and unchanged"
    return InputError(example.origin, "in the model's chat template an answer cannot be separated from the rest", fix)
