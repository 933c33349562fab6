"""Shortens the text that a question is about, so that question and answer keep their room in a row.

Tests: tests/trainer/text/test_shortening.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from trainer.data.sampled import Sampled
from trainer.data.shards import notes_of
from trainer.text.encoding import encode_text
from trainer.text.questions import QuestionExample

SHORTENED = "the text was shortened"
"""What the note of a piece whose text was begins with."""


def shortened(example: QuestionExample, tokenizer: Any, tokens: int) -> QuestionExample:
    """Return the example with about so many tokens of its text: those around the answer, or the first where none is a part of it.

    The answer alone may have more.
    """
    answer = example.span
    start, end = (answer.start, answer.end) if answer is not None else (0, 0)
    borders = _borders(example.context, tokenizer)
    first = max(0, int(np.searchsorted(borders, start, side="right")) - 1)
    last = int(np.searchsorted(borders, end))
    beside = max(0, tokens - (last - first))
    begin = max(0, first - beside // 2)
    stop = min(len(borders) - 1, last + beside - (first - begin))
    begin = max(0, min(first, stop - tokens))
    words = example.context[borders[begin] : borders[stop]]
    return replace(example, context=words, answers=tuple(one._replace(start=words.find(one.text)) for one in example.answers))


def ending(example: QuestionExample, tokenizer: Any, tokens: int) -> QuestionExample:
    """Return the example with the last so many tokens of its text, wherever the answer is: the part that is left of a long prompt."""
    borders = _borders(example.context, tokenizer)
    words = example.context[borders[max(0, len(borders) - 1 - tokens)] :]
    return replace(example, context=words, answers=tuple(one._replace(start=words.find(one.text)) for one in example.answers))


@lru_cache(maxsize=1)
def _borders(text: str, tokenizer: Any) -> Sequence[int]:
    """Return where the tokens of a text begin, in characters, and where the last one ends; without offsets, every fourth character."""
    offsets = encode_text(text, tokenizer, special=False).offsets
    starts = {start for start, _ in offsets} if offsets is not None else set(range(0, len(text), 4))
    return sorted({0, *starts, len(text)})


def shortened_findings(side: Sampled[QuestionExample]) -> list[str]:
    """Report rows whose text was shortened."""
    notes, which = notes_of(side.pieces)
    rows = np.flatnonzero(np.isin(which, [number for number, note in enumerate(notes) if note.startswith(SHORTENED)]))
    if not len(rows):
        return []
    kept = "keep the part around the answer" if side.name == "data.train" else "lose their beginnings, wherever the answer is"
    what = f"{len(rows)} of {side.of()} have texts that do not fit beside question and answer, and {kept}"
    return [f"{side.name}: {what} (the first: {side.examples[rows[0]].origin}); raise training.maxSequenceLength to keep all of them"]
