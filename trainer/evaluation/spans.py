"""Finds the answers to questions in their contexts, over all ranks: the best span of all windows, or none, as SQuAD 2 decides it.

A window's spans are scored by the sum of the model's scores of their first and last token; all spans of up to LONGEST tokens are
compared. The score of no answer is that of the first token, the lowest of all windows. Answers do not depend on batch size or number
of ranks. Tests: tests/trainer/evaluation/test_spans.py.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.data.spanrow import TAIL
from trainer.engine.inference import Inference
from trainer.evaluation.generation import Generated
from trainer.objectives.base import Forward, arguments_of
from trainer.objectives.span import pair_inputs, scores_of
from trainer.tasks.base import Extract
from trainer.text.windows import Window, windows_of
from trainer.training.batches import AtOnce

LONGEST = 30
"""Tokens of an answer at most, as in the scripts that SQuAD's figures come from."""
CANDIDATES = 20
"""Best spans that are kept of a window, and of an example: an answer's probability is its share among them."""
TURN = 64
"""Questions of a rank whose windows are in memory together, sorted by length."""


@dataclass(frozen=True)
class Extracted(Generated):
    """An answer that was cut from the context; its text is empty where the model says that there is none."""

    start: int | None = None
    """Where it begins in the context, in characters."""
    end: int | None = None
    score: float = 0.0
    """Its probability among the best spans."""

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"answer": self.text, "score": round(self.score, 6), "start": self.start, "end": self.end}


@dataclass(frozen=True, order=True)
class Span:
    """A part of a context and its score."""

    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Scored:
    """What the windows of one example say: their best spans, and the score of no answer."""

    spans: tuple[Span, ...] = ()
    nothing: float = math.inf

    def with_window(self, spans: Sequence[Span], nothing: float) -> "Scored":
        """Add a window. Windows overlap: a span that two of them hold counts once, with its better score."""
        found: dict[tuple[int, int], Span] = {}
        for span in (*self.spans, *spans):
            other = found.setdefault((span.start, span.end), span)
            found[span.start, span.end] = max(span, other)
        # Of equal scores the first span: the order of windows must make no difference.
        best = heapq.nsmallest(CANDIDATES, found.values(), key=lambda span: (-span.score, span.start, span.end))
        return Scored(tuple(best), min(self.nothing, nothing))


def extract(
    engine: Inference,
    tokenizer: Any,
    requests: Sequence[Extract],
    max_length: int,
    at_once: AtOnce,
    between: Callable[[], None] = lambda: None,
) -> list[Extracted]:
    """Return one answer per request, in order, on every rank.

    Windows are those of samples of `max_length` tokens. `between` is called on every rank before each batch, equally often; it may
    raise, on all ranks or none.
    """
    own = range(engine.rank, len(requests), engine.world_size)
    turns = -(-len(requests) // engine.world_size) if requests else 0
    forward = Forward(engine.forward, arguments_of(engine.model))
    was_training, answers = engine.model.training, list[tuple[int, Extracted]]()
    engine.model.eval()
    try:
        with torch.no_grad(), engine.whole():
            for begin in range(0, turns, TURN):
                places = own[begin : begin + TURN]
                some = [requests[place] for place in places]
                found = _scored(engine, forward, tokenizer, some, max_length, at_once, between)
                answers += ((place, answer_of(request, scored)) for place, request, scored in zip(places, some, found, strict=True))
    finally:
        engine.model.train(was_training)
    answered = dict(pair for rank_pairs in engine.gather(answers) for pair in rank_pairs)
    return [answered[place] for place in range(len(requests))]


def _scored(
    engine: Inference,
    forward: Forward,
    tokenizer: Any,
    requests: Sequence[Extract],
    max_length: int,
    at_once: AtOnce,
    between: Callable[[], None],
) -> list[Scored]:
    """Return what the windows of each request say; every rank makes equally many forward passes, some perhaps for nothing."""
    windows = [
        (number, window)
        for number, request in enumerate(requests)
        for window in windows_of(request.question, request.context, tokenizer, max_length - TAIL)
    ]
    windows.sort(key=lambda pair: (len(pair[1].input_ids), pair[0], pair[1].start))
    batches = _batches(windows, at_once)
    found = [Scored() for _ in requests]
    for turn in range(max(engine.gather(len(batches)))):
        between()
        batch = batches[turn] if turn < len(batches) else []
        if batch or engine.shards_parameters:
            rows = [(window.input_ids, window.second) for _, window in batch] or [((0, 0), 0)]
            inputs = {name: value.to(engine.device) for name, value in pair_inputs(rows).items()}
            for (number, window), scores in zip(batch, scores_of(forward, inputs).cpu(), strict=False):
                found[number] = found[number].with_window(best_spans(scores, window), float(scores[0].sum()))
    return found


def _batches(windows: Sequence[tuple[int, Window]], at_once: AtOnce) -> list[list[tuple[int, Window]]]:
    batches: list[list[tuple[int, Window]]] = []
    for number, window in windows:
        size = len(window.input_ids)
        if batches and at_once.holds(len(batches[-1]) + 1, size, size):
            batches[-1].append((number, window))
        else:
            batches.append([(number, window)])
    return batches


def best_spans(scores: Tensor, window: Window, count: int = CANDIDATES, longest: int = LONGEST) -> list[Span]:
    """Return the best spans of a window's context, best first; `scores` (length, 2) are those of first and last positions."""
    size = len(window.offsets)
    if size == 0:
        return []
    start, end = scores[window.first : window.first + size].double().unbind(dim=1)
    # A row for each first token, a column for each length; -inf where the context has ended.
    ends = torch.nn.functional.pad(end, (0, longest - 1), value=-math.inf).unfold(0, longest, 1)
    sums = (start.unsqueeze(1) + ends).flatten()
    values, places = sums.topk(min(count, len(sums)))
    found = []
    for value, place in zip(values.tolist(), places.tolist(), strict=True):
        if math.isfinite(value):
            first = window.first + place // longest
            found.append(Span(value, *window.characters(first, first + place % longest)))
    return found


def answer_of(request: Extract, scored: Scored) -> Extracted:
    """Return the best span, or no answer where that may be and scores higher; its text is cut from the original context."""
    spans = [span for span in scored.spans if request.context[span.start : span.end].strip()]
    if not spans:
        return Extracted("", cut=False, score=1.0)
    best = spans[0]
    scores = [span.score for span in spans] + ([scored.nothing] if request.may_lack else [])
    total = torch.tensor(scores, dtype=torch.float64).logsumexp(0).item()
    if request.may_lack and scored.nothing > best.score:
        return Extracted("", cut=False, score=math.exp(scored.nothing - total))
    text = request.context[best.start : best.end]
    begin = best.start + len(text) - len(text.lstrip())
    return Extracted(text.strip(), False, begin, begin + len(text.strip()), math.exp(best.score - total))
