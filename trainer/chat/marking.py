"""Finds the words of each turn in what a chat template writes, even if the template drops, trims or moves some.

An answer's text is not searched for, because it may also occur in a heading, a question or a dropped thought. Instead the
conversation is written twice, once with private-use characters as marks around its words. Without the marks the two must
be equal; then the marks show where the words are. Tests: tests/trainer/chat/test_marking.py.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import chain
from typing import Any

from trainer.chat.template import Wire
from trainer.text.controls import TAG

WORDS = ("reasoning_content", "content")
PARTS = ("name", *WORDS)
CALLS = "tool_calls"
TOOLS = -1
"""Turn number of words that come from the schemas of tools."""
PRIVATE = re.compile("([\U000f0000-\U000ffffd\U00100000-\U0010fffd])")
BREAK = re.compile(rf"{TAG}|\s+")
Draw = Callable[[Sequence[Wire], Sequence[Any] | None], str]


class Way(Enum):
    """How the words of a piece are marked: some templates test the start or end of a text, and would see a mark there.

    Of a call, the name and every text in the arguments are marked around all of it: with EDGES the names of arguments too, with
    BEFORE and AFTER not the name.
    """

    EDGES = "around all of it"
    WORDS = "around each word, not at tags"
    BEFORE = "before each word"
    AFTER = "after each word"


@dataclass(frozen=True)
class Piece:
    """One text of a turn as passed to the template, and its marks."""

    turn: int
    part: str
    text: str
    controls: re.Pattern[str]
    opens: str
    closes: str
    call: Wire | None = None
    """The call of a tool that this piece is, in place of a text."""
    number: int = 0
    """Which of its turn's calls."""

    def call_marked(self, way: Way) -> Wire:
        """Return the call with marks around its texts."""
        call = self.call or {}
        return call | {"function": {key: self._marked_in(value, key, way) for key, value in call["function"].items()}}

    def _marked_in(self, value: Any, key: str, way: Way) -> Any:
        if isinstance(value, str):
            is_bare = not value.strip() or (key == "name" and way in (Way.BEFORE, Way.AFTER))
            return value if is_bare else f"{self.opens}{value}{self.closes}"
        if isinstance(value, dict):
            names = {name: f"{self.opens}{name}{self.closes}" if way is Way.EDGES and name.strip() else name for name in value}
            return {names[name]: self._marked_in(member, "", way) for name, member in value.items()}
        return [self._marked_in(member, "", way) for member in value] if isinstance(value, list) else value

    def marked(self, way: Way) -> str:
        """Return the text with its marks; white space stays outside them, because templates trim."""
        core = self.text.strip()
        if not core:
            return self.text
        if way is Way.EDGES:
            before, _, after = self.text.partition(core)
            return f"{before}{self.opens}{core}{self.closes}{after}"
        opens, closes = "" if way is Way.AFTER else self.opens, "" if way is Way.BEFORE else self.closes
        return "".join(f"{opens}{atom}{closes}" if is_word else atom for atom, is_word in self.atoms())

    def atoms(self) -> Iterator[tuple[str, bool]]:
        """Yield the parts of the text and whether each is a word, not a tag or white space. A control token's name is a word."""
        for atom in re.split(rf"({self.controls.pattern}|{TAG}|\s+)", self.text):
            if atom:
                yield atom, bool(self.controls.fullmatch(atom)) or not (atom.isspace() or re.fullmatch(TAG, atom))

    @cached_property
    def tail(self) -> str:
        """What follows the last word: tags and white space."""
        atoms = list(self.atoms())
        last = max((index for index, (_, is_word) in enumerate(atoms) if is_word), default=-1)
        return "".join(atom for atom, _ in atoms[last + 1 :])

    @cached_property
    def _words(self) -> tuple[frozenset[str], frozenset[str], tuple[int, ...]]:
        """Return the words, the same words without case, and their lengths in descending order."""
        words = frozenset(atom for atom, is_word in self.atoms() if is_word)
        return words, frozenset(map(str.casefold, words)), tuple(sorted(set(map(len, words)), reverse=True))

    def word_from(self, text: str, start: int, limit: int) -> int:
        """Return where the word that begins at `start` ends, at most `limit`."""
        length = self._length(lambda size: text[start : start + size], limit - start)
        if length is not None:
            return start + length
        found = BREAK.search(text, start, limit)
        return found.start() if found is not None else limit

    def word_until(self, text: str, end: int, limit: int) -> int:
        """Return where the word that ends at `end` begins, at least `limit`."""
        length = self._length(lambda size: text[end - size : end], end - limit)
        return end - length if length is not None else max((found.end() for found in BREAK.finditer(text, limit, end)), default=limit)

    def _length(self, beginning: Callable[[int], str], most: int) -> int | None:
        """Return the length of the longest matching word; None if the template has changed more than its case."""
        words, folded, lengths = self._words
        fitting = [length for length in lengths if length <= most]
        exact = next((length for length in fitting if beginning(length) in words), None)
        return exact if exact is not None else next((length for length in fitting if beginning(length).casefold() in folded), None)


@dataclass(frozen=True)
class Stretch:
    """Position of words of a piece in the rendered text, in characters."""

    start: int
    end: int
    piece: Piece


@dataclass
class Written:
    """What the template wrote, and where the words of each piece are, in the order of the text."""

    text: str
    stretches: list[Stretch] = field(default_factory=list)

    def of_turn(self, turn: int) -> list[Stretch]:
        """Return the stretches of one turn, in the order of the text."""
        return [stretch for stretch in self.stretches if stretch.piece.turn == turn]


@dataclass(frozen=True)
class Marker:
    """Pieces of a conversation, with a way to mark each that does not change what is written, and the tools' schemas."""

    turns: Sequence[Wire]
    tools: Sequence[Any] | None
    pieces: tuple[Piece, ...]
    ways: tuple[Way, ...]

    def write(self, draw: Draw, until: int | None = None) -> Written:
        """Render the first `until` turns and return the text with the positions of their words."""
        turns = [dict(turn) for turn in self.turns[:until]]
        marked, tools = self._marked
        for piece, value in zip(self.pieces, marked, strict=True):
            if not 0 <= piece.turn < len(turns):
                continue
            if piece.call is not None:
                calls = turns[piece.turn][CALLS]
                value = [*calls[: piece.number], value, *calls[piece.number + 1 :]]
            turns[piece.turn][piece.part] = value
        return _read(draw(turns, tools), self.pieces)

    @cached_property
    def _marked(self) -> tuple[list[Any], Sequence[Any] | None]:
        """Return the texts and calls of the pieces, and the tools, with marks."""
        tools = self.tools
        for piece in self.pieces:
            tools = _wrapped(tools, piece) if piece.turn == TOOLS else tools
        marked = (
            piece.marked(way) if piece.call is None else piece.call_marked(way) for piece, way in zip(self.pieces, self.ways, strict=True)
        )
        return list(marked), tools


def locate(draw: Draw, turns: Sequence[Wire], tools: Sequence[Any] | None, controls: Callable[[str], re.Pattern[str]]
           ) -> tuple[Written, Marker] | None:  # fmt: skip
    """Return the rendered conversation with the positions of all words, or None if every way of marking changes it.

    `controls` returns the pattern of control tokens in the words of a role, or of "tools".
    """
    plain = draw(turns, tools)
    pieces = _pieces_of(turns, tools, controls, plain)
    ways = tuple(Way.EDGES for _ in pieces)
    for others in (Way.EDGES, Way.WORDS, Way.BEFORE, Way.AFTER):
        marker = Marker(turns, tools, pieces, ways if others is Way.EDGES else tuple(others for _ in pieces))
        written = _faithful(marker, draw, plain)
        if written is None:
            continue
        torn = [piece.turn != TOOLS and piece.call is None and not _whole(written, piece) for piece in pieces]
        if others is not Way.EDGES or not any(torn):
            return written, marker
        # Pieces that lost a mark are marked word by word, the others as before.
        marker = Marker(turns, tools, pieces, tuple(Way.WORDS if is_torn else Way.EDGES for is_torn in torn))
        written = _faithful(marker, draw, plain)
        if written is not None:
            return written, marker
    return None


def _faithful(marker: Marker, draw: Draw, plain: str) -> Written | None:
    try:
        written = marker.write(draw)
    except Exception:  # the template rejects the marks, although it accepted the conversation without them
        return None
    return written if written.text == plain else None


def _whole(written: Written, piece: Piece) -> bool:
    """Return whether a piece that is marked at its edges occurs once, unchanged."""
    found = [stretch for stretch in written.stretches if stretch.piece is piece]
    return len(found) == 1 and written.text[found[0].start : found[0].end] == piece.text.strip()


def _pieces_of(turns: Sequence[Wire], tools: Sequence[Any] | None, controls: Callable[[str], re.Pattern[str]], plain: str
               ) -> tuple[Piece, ...]:  # fmt: skip
    """Return the texts of a conversation, each with two characters that occur neither in a text nor in what is written."""
    parts = [(index, part, str(turn.get(part, "")), turn["role"]) for index, turn in enumerate(turns) for part in PARTS]
    texts = [entry for entry in parts if entry[2].strip()]
    if tools is not None and any(controls("tools").search(text) for text in _texts_in(tools)):
        texts.append((TOOLS, "tools", "", "tools"))
    calls = [(index, number, call) for index, turn in enumerate(turns) for number, call in enumerate(turn.get(CALLS, ()))]
    given = (plain, *(text for _, _, text, _ in texts), *_texts_in(tools), *(text for *_, call in calls for text in _texts_in(call)))
    used = {character for text in given for character in PRIVATE.findall(text)}
    free = (character for character in map(chr, chain(range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))) if character not in used)
    return (
        *(Piece(index, part, text, controls(role), next(free), next(free)) for index, part, text, role in texts),
        *(Piece(index, CALLS, "", controls("tool"), next(free), next(free), call, number) for index, number, call in calls),
    )


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _texts_in(member)


def _wrapped(value: Any, piece: Piece) -> Any:
    """Return schemas with marks around the control tokens in them."""
    if isinstance(value, str):
        return piece.controls.sub(lambda found: f"{piece.opens}{found[0]}{piece.closes}", value)
    if isinstance(value, dict):
        return {_wrapped(name, piece): _wrapped(member, piece) for name, member in value.items()}
    return [_wrapped(member, piece) for member in value] if isinstance(value, list) else value


def _read(marked: str, pieces: Sequence[Piece]) -> Written:
    """Remove the marks from a text and return what they show."""
    marks = {piece.opens: (piece, True) for piece in pieces} | {piece.closes: (piece, False) for piece in pieces}
    text, found, length = [], [], 0
    for part in PRIVATE.split(marked):
        if part in marks:
            found.append((length, *marks[part]))
        else:
            text.append(part)
            length += len(part)
    written = Written("".join(text))
    written.stretches = list(_stretches(written.text, found))
    return written


def _stretches(text: str, marks: Sequence[tuple[int, Piece, bool]]) -> Iterator[Stretch]:
    """Pair the marks; if one of a pair is missing, the word at the other one gives the length of the stretch."""
    places = [0, *(place for place, _, _ in marks), len(text)]
    position = 0
    while position < len(marks):
        place, piece, opens = marks[position]
        following = marks[position + 1] if position + 1 < len(marks) else None
        if opens and following is not None and following[1] is piece and not following[2]:
            yield Stretch(place, following[0], piece)
            position += 2
            continue
        # A neighboring mark bounds the word.
        if opens:
            yield Stretch(place, piece.word_from(text, place, places[position + 2]), piece)
        else:
            yield Stretch(piece.word_until(text, place, places[position]), place, piece)
        position += 1
