"""A question with a part of its context, as an encoder reads both: long contexts become several windows that overlap.

A window is what the tokenizer makes of a pair of texts, such as [CLS] question [SEP] context [SEP]. Answers are found by tokens and
cut from the original text by characters. Tests: tests/trainer/text/test_windows.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from finetune.api.errors import InputError
from trainer.data.spanrow import segments
from trainer.text.controls import special_ids
from trainer.text.encoding import Encoded, Offset, encode_text

OVERLAP = 3
"""A window repeats the last third of the one before: an answer of so many tokens is whole in one of them."""


@dataclass(frozen=True)
class Form:
    """The special tokens around a pair of texts, in a tokenizer's own order."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    marked: bool = False
    """Whether models are told which tokens are of the second text, as BERT is, and RoBERTa is not."""

    @property
    def size(self) -> int:
        """Number of these tokens."""
        return len(self.before) + len(self.between) + len(self.after)


@dataclass(frozen=True)
class Window:
    """One window of an example."""

    input_ids: tuple[int, ...]
    """What the model reads."""
    first: int
    """Position of the first token of the context."""
    offsets: tuple[Offset, ...]
    """Where each token of the context is in the original text, in characters."""
    marked: bool = False
    """Whether the model is told where the context begins."""
    shortened: bool = False
    """Whether the question lost its end, for lack of room."""

    @property
    def second(self) -> int:
        """Where the context begins, for a model that is told; else 0."""
        return self.first if self.marked else 0

    @property
    def start(self) -> int:
        """Where the window's part of the context begins, in characters."""
        return self.offsets[0][0] if self.offsets else 0

    @property
    def end(self) -> int:
        """Where it ends."""
        return max((end for _, end in self.offsets), default=0)

    def positions(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the first and the last position of the tokens that hold these characters; None if the window does not hold all of them."""
        return self.overlap(start, end) if self.start <= start and end <= self.end else None

    def overlap(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the first and the last position of the tokens that hold some of these characters; None if none does."""
        inside = [place for place, (begin, stop) in enumerate(self.offsets) if begin < end and stop > start]
        return (self.first + inside[0], self.first + inside[-1]) if inside else None

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Return the characters of the tokens from position `first` to `last`: where they begin and end."""
        return self.offsets[first - self.first][0], self.offsets[last - self.first][1]


def windows_of(question: str, context: str, tokenizer: Any, room: int) -> list[Window]:
    """Return windows of at most `room` tokens that together hold every token of the context, at least one.

    A question that would take more than half of a window loses its end.
    """
    form = form_of(tokenizer)
    free = max(2, room - form.size)
    asked, read = encode_text(question, tokenizer, special=False), encode_text(context, tokenizer, special=False)
    kept = asked.input_ids[: max(free // 2, free - max(1, len(read.input_ids)))]
    size = free - len(kept)
    step = size - size // OVERLAP
    starts = range(0, max(1, len(read.input_ids) - size // OVERLAP), step)
    return [_window(form, kept, read, start, start + size, len(kept) < len(asked.input_ids)) for start in starts]


def varied_window(question: str, context: str, part: Offset, tokenizer: Any, room: int) -> Window:
    """Return the window that holds the characters `part` of the context, with another question, which loses its end if it is longer."""
    form = form_of(tokenizer)
    asked, read = encode_text(question, tokenizer, special=False), encode_text(context, tokenizer, special=False)
    places = [place for place, (begin, stop) in enumerate(read.offsets or ()) if begin >= part[0] and stop <= part[1]]
    first, stop = (places[0], places[-1] + 1) if places else (0, 0)
    kept = asked.input_ids[: max(1, room - form.size - (stop - first))]
    return _window(form, kept, read, first, stop, len(kept) < len(asked.input_ids))


def _window(form: Form, question: Sequence[int], context: Encoded, start: int, stop: int, shortened: bool) -> Window:
    opening = (*form.before, *question, *form.between)
    ids = (*opening, *context.input_ids[start:stop], *form.after)
    return Window(ids, len(opening), tuple((context.offsets or [])[start:stop]), form.marked, shortened)


@lru_cache(maxsize=8)
def form_of(tokenizer: Any) -> Form:
    """Return how a tokenizer writes a pair of texts; raises InputError for a tokenizer that cannot be used for that."""
    if not tokenizer.is_fast:
        raise _unfit("does not say where in a text its tokens are")
    found = tokenizer("a", "a", verbose=False)
    ids, marks = [int(token) for token in found["input_ids"]], special_ids(tokenizer) - {tokenizer.unk_token_id}
    own = [place for place, token in enumerate(ids) if token not in marks]
    gaps = [place for place in range(1, len(own)) if own[place] != own[place - 1] + 1]
    if len(gaps) != 1 or own[0] == 0 or own[-1] == len(ids) - 1:
        raise _unfit("puts no special tokens before, between and after a pair of texts")
    kinds = list(found.get("token_type_ids", []))
    if any(kinds) and kinds != segments(len(ids), own[gaps[0]]):
        raise _unfit("marks the two texts of a pair in a way that is not known here")
    before, between, after = ids[: own[0]], ids[own[gaps[0] - 1] + 1 : own[gaps[0]]], ids[own[-1] + 1 :]
    return Form(tuple(before), tuple(between), tuple(after), any(kinds))


def _unfit(problem: str) -> InputError:
    return InputError("model", f"the tokenizer {problem}, so no answer can be found with it", "use another model")
