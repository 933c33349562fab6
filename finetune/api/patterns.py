"""Regular expressions whose search takes time linear in the text, whatever the pattern: users write them, the controller runs them.

A subset of RE2, searched by following all alternatives at once; Python's own `re` backtracks, and a pattern of a few characters can keep
it busy for years. Pure. Test: tests/finetune/api/test_patterns.py.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LONGEST = 256
"""Characters of a pattern; each is at most one state, so that a text of 2,048 characters takes half a million steps at the most."""
REFUSED = r"[{}]|\(\?|\[:|\\[^dDwWsSnt[:^alnum:]]"
"""What has no place in a pattern, as RE2 writes it for CEL: counts, groups with options, named classes, escapes of other letters."""
_REFUSED = re.compile(r"[{}]|\(\?|\[:|\\[^dDwWsSnt\W_]|\\[^\x00-\x7f]")
DIGITS, SPACES = frozenset("0123456789"), frozenset("\t\n\f\r ")
WORDS = DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
REPEATS = ("*", "+", "?")
CLASSES = {"d": DIGITS, "w": WORDS, "s": SPACES}

Accepts = Callable[[str], bool]


class PatternError(ValueError):
    """A pattern that cannot be searched for; the message says why."""


@dataclass
class State:
    """A step of the search: it reads a character that `accepts` takes, or an edge of the text, or is free; then goes on to `after`."""

    accepts: Accepts | None = None
    edge: str = ""
    after: "tuple[State, ...]" = ()


class Pattern:
    """A pattern that can be searched for; PatternError for text that is none."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise PatternError(f"has more than {LONGEST} characters")
        refused = _REFUSED.search(text)
        if refused is not None:
            raise PatternError(
                f"has {refused[0]!r}: counts in braces, groups with options and escapes other than \\d \\w \\s are not supported"
            )
        self._end = State()
        self._begin = _Parser(text).parse(self._end)

    def is_in(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in the text."""
        current: list[State] = []
        for position, character in enumerate([*text, ""]):
            at = {"^": position == 0, "$": character == ""}
            current = list(_reached([*current, self._begin], at))
            if any(state is self._end for state in current):
                return True
            current = [
                following for state in current if state.accepts is not None and state.accepts(character) for following in state.after
            ]
        return False


def _reached(states: list[State], at: dict[str, bool]) -> Iterator[State]:
    """Return these states and all that are reached from them without reading a character, each once."""
    waiting, seen = list(reversed(states)), set[int]()
    while waiting:
        state = waiting.pop()
        if id(state) in seen:
            continue
        seen.add(id(state))
        yield state
        if state.accepts is None and (not state.edge or at[state.edge]):
            waiting.extend(state.after)


class _Parser:
    """Builds the states from the end of each part to its beginning, since each state names what follows it."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def parse(self, end: State) -> State:
        begin = self._alternatives()(end)
        if self._at < len(self._text):
            raise PatternError("has a ')' without its '('")
        return begin

    def _alternatives(self) -> Callable[[State], State]:
        branches = [self._sequence()]
        while self._next() == "|":
            self._at += 1
            branches.append(self._sequence())
        return lambda after: State(after=tuple(branch(after) for branch in branches))

    def _sequence(self) -> Callable[[State], State]:
        parts: list[Callable[[State], State]] = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated(self._part()))

        def build(after: State) -> State:
            for part in reversed(parts):
                after = part(after)
            return after

        return build

    def _repeated(self, part: Callable[[State], State]) -> Callable[[State], State]:
        how = self._next()
        if how not in REPEATS:
            return part
        self._at += 1
        if self._next() == "?":  # the shortest match is a match like any other
            self._at += 1
        if self._next() in REPEATS:
            raise PatternError(f"repeats {how!r}, which is a repetition already; put the part into parentheses")

        def build(after: State) -> State:
            if how == "?":
                return State(after=(part(after), after))
            again = State()
            begin = part(again)
            again.after = (begin, after)
            return begin if how == "+" else again

        return build

    def _part(self) -> Callable[[State], State]:
        character = self._text[self._at]
        self._at += 1
        match character:
            case "(":
                inner = self._alternatives()
                if self._next() != ")":
                    raise PatternError("has a '(' without its ')'")
                self._at += 1
                return inner
            case "[":
                return _reading(self._class())
            case "*" | "+" | "?":
                raise PatternError(f"has {character!r} with nothing before it to repeat")
            case "^" | "$":
                return lambda after: State(edge=character, after=(after,))
            case ".":
                return _reading(lambda read: read not in ("\n", ""))
            case "\\":
                return _reading(self._escaped())
            case _:
                return _reading(lambda read: read == character)

    def _escaped(self) -> Accepts:
        character = self._next()
        if not character:
            raise PatternError("ends with a backslash")
        self._at += 1
        if character.lower() in CLASSES:
            of_class = CLASSES[character.lower()]
            return (lambda read: read in of_class) if character.islower() else (lambda read: bool(read) and read not in of_class)
        literal = {"n": "\n", "t": "\t"}.get(character, character)
        return lambda read: read == literal

    def _class(self) -> Accepts:
        negated = self._next() == "^"
        self._at += negated
        members: list[Accepts] = []
        while self._next() != "]" or not members:
            members.append(self._member())
        self._at += 1
        return lambda read: bool(read) and any(member(read) for member in members) is not negated

    def _member(self) -> Accepts:
        first = self._letter()
        if callable(first):
            return first
        if self._next() != "-" or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return lambda read: read == first
        self._at += 1
        last = self._letter()
        if callable(last) or last < first:
            raise PatternError("has a range in brackets that does not go from a smaller to a greater character")
        return lambda read: bool(read) and first <= read <= last

    def _letter(self) -> "str | Accepts":
        """Return a character in brackets, or the class that stands for several."""
        character = self._next()
        if not character:
            raise PatternError("has a '[' without its ']'")
        self._at += 1
        if character != "\\":
            return character
        escaped = self._next()
        if escaped.lower() in CLASSES:
            return self._escaped()
        if not escaped:
            raise PatternError("ends with a backslash")
        self._at += 1
        return {"n": "\n", "t": "\t"}.get(escaped, escaped)

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]


def _reading(accepts: Accepts) -> Callable[[State], State]:
    return lambda after: State(accepts=accepts, after=(after,))
