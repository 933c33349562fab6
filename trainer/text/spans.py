"""Samples of questions about texts for models that find the answer in them: a row for each window of the context.

Tests: tests/trainer/text/test_spans.py, tests/trainer/tasks/test_conformance.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.data.rows import Piece, PieceCount, Sample
from trainer.data.rowstore import sizes_of
from trainer.data.spanrow import NOWHERE, TAIL, TARGETS, span_sample
from trainer.text.questions import QuestionExample
from trainer.text.windows import Window, form_of, varied_window, windows_of

COUNTED_CHARACTERS = 5_000_000
"""Characters of long rows that are tokenized to count windows, which takes a few seconds; the rest is estimated from them."""


def span_pieces(example: QuestionExample, tokenizer: Any, max_length: int) -> list[Piece[QuestionExample]]:
    """Return a piece for each window of the context, each of at most `max_length` tokens with the two positions to find."""
    windows = windows_of(example.question, example.context, tokenizer, max_length - TAIL)
    places = _targets(windows, example)
    if len(windows) == 1:
        return [Piece(example, _sample(example.id, windows[0], *places[0]))]
    last = len(windows) - 1
    return [
        Piece(example, _sample(f"{example.id}/{number}", window, *place), number == 0, number == last, window.start, window.end)
        for number, (window, place) in enumerate(zip(windows, places, strict=True))
    ]


def varied_span(piece: Piece[QuestionExample], varied: QuestionExample, tokenizer: Any, max_length: int) -> Sample:
    """Return the sample of a piece with another question: the same part of the context, with the answer at its place."""
    part = (piece.start, len(varied.context) if piece.end is None else piece.end)
    window = varied_window(varied.question, varied.context, part, tokenizer, max_length - TAIL)
    found = window.positions(varied.span.start, varied.span.end) if varied.span is not None else None
    # A shortened question makes every window truncated; only one that had a part of the answer has one again.
    if found is None and varied.span is not None and tuple(piece.tokens.targets[-TARGETS:]) != NOWHERE:
        found = window.overlap(varied.span.start, varied.span.end)
    targets = (found or NOWHERE) if any(piece.tokens.loss_mask) else None
    return _sample(piece.tokens.id, window, targets, piece.tokens.truncated)


def count_windows(examples: Sequence[QuestionExample], tokenizer: Any, max_length: int) -> PieceCount:
    """Count the windows of rows. Only rows that may need several are tokenized, up to COUNTED_CHARACTERS."""
    sizes = sizes_of(examples)
    # A token is at least one byte.
    long = np.flatnonzero(sizes[:, 1] + form_of(tokenizer).size + TAIL > max_length)
    characters = sizes[long, 0]
    tokenized = np.cumsum(characters) - characters < COUNTED_CHARACTERS
    rows = (examples[place] for place in long[tokenized].tolist())
    counted = sum(len(windows_of(row.question, row.context, tokenizer, max_length - TAIL)) for row in rows)
    rest = characters[~tokenized]
    estimate = np.maximum(1, np.rint(rest * counted / max(1, int(characters[tokenized].sum())))).sum()
    return PieceCount(len(sizes) - len(long) + counted + int(estimate), estimated=len(rest) > 0)


def _targets(windows: Sequence[Window], example: QuestionExample) -> list[tuple[tuple[int, int] | None, bool]]:
    """Return the targets in each window, and whether they are only a part of the answer: of one that no window holds as a whole.

    No window has any if there is an answer but none holds a token of it: that it is not there would be a wrong answer.
    """
    if not example.answers:
        return [(NOWHERE, False)] * len(windows)
    answer = example.span
    if answer is None:
        return [(None, False)] * len(windows)
    found = [window.positions(answer.start, answer.end) for window in windows]
    if any(found):
        return [(place or NOWHERE, False) for place in found]
    parts = [window.overlap(answer.start, answer.end) for window in windows]
    sizes = [part[1] - part[0] + 1 if part is not None else 0 for part in parts]
    if not any(sizes):
        return [(None, False)] * len(windows)
    most = sizes.index(max(sizes))
    return [(part, True) if number == most and part is not None else (NOWHERE, False) for number, part in enumerate(parts)]


def _sample(name: str, window: Window, targets: tuple[int, int] | None, cut: bool) -> Sample:
    return span_sample(name, window.input_ids, window.second, targets, truncated=cut or window.shortened)
