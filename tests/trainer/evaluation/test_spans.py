"""Answers are the best spans of all windows, as comparing every span one by one finds them, on any number of ranks."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from tests.trainer.evaluation.test_measure_ranks import Meeting
from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.engine.inference import OneProcess
from trainer.evaluation.spans import LONGEST, Extracted, Scored, Span, answer_of, best_spans, extract
from trainer.outputs import logits_of
from trainer.tasks.base import Extract
from trainer.text.windows import Window, windows_of
from trainer.training.batches import AtOnce

TOKENIZER = bert_tokenizer()
LONG = "Ben came on Tuesday, and stayed with all of them for more than a week. Then he left."
CONTEXTS = ["Ann came on Monday.", LONG, "Carl", "Grüße an 世界", f"Nobody. {LONG}"]
"""An odd number, of which neither two ranks nor three get equally many."""
LENGTH = 43
"""So that some contexts need several windows."""


def request(context: str, *, may_lack: bool = False) -> Extract:
    return Extract(("",), "Who?", "Who?", context, may_lack)


def model() -> Any:
    return tiny_encoder("AutoModelForQuestionAnswering", max_position_embeddings=128)


class Rank(OneProcess):
    """One of several ranks, as a thread; counts its forward passes."""

    def __init__(self, rank: int, meeting: Meeting, *, shards_parameters: bool) -> None:
        super().__init__(model(), torch.device("cpu"))
        self.rank, self.world_size, self.shards_parameters = rank, meeting.world_size, shards_parameters
        self._meeting, self.passes = meeting, 0

    def forward(self, **inputs: Any) -> torch.Tensor:
        self.passes += 1
        return super().forward(**inputs)

    def gather(self, value: Any) -> list[Any]:
        return self._meeting.gather(self.rank, value)


def one_by_one(context: str) -> tuple[dict[tuple[int, int], float], float]:
    """Return the score of each span of a context, best over its windows, and the lowest score of no answer."""
    scores: dict[tuple[int, int], float] = {}
    nothing, used = math.inf, model()
    for window in windows_of("Who?", context, TOKENIZER, LENGTH - 3):
        with torch.no_grad():
            found = logits_of(used(input_ids=torch.tensor([window.input_ids])))[0].double()
        nothing = min(nothing, float(found[0].sum()))
        for first in range(window.first, window.first + len(window.offsets)):
            for last in range(first, min(first + LONGEST, window.first + len(window.offsets))):
                place = window.characters(first, last)
                scores[place] = max(scores.get(place, -math.inf), float(found[first, 0] + found[last, 1]))
    return scores, nothing


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_an_answer_is_the_best_of_all_spans_of_all_windows(rows: int) -> None:
    engine = OneProcess(model(), torch.device("cpu"))
    found = extract(engine, TOKENIZER, [request(context) for context in CONTEXTS], LENGTH, AtOnce(rows))
    for context, answer in zip(CONTEXTS, found, strict=True):
        scores, _ = one_by_one(context)
        start, end = max(scores, key=lambda place: (scores[place], -place[0], -place[1]))
        assert answer.text == context[start:end].strip()
        assert context[answer.start : answer.end] == answer.text


def test_there_is_no_answer_where_its_lowest_score_is_above_the_best_span() -> None:
    engine = OneProcess(model(), torch.device("cpu"))
    found = extract(engine, TOKENIZER, [request(context, may_lack=True) for context in CONTEXTS], LENGTH, AtOnce(2))
    for context, answer in zip(CONTEXTS, found, strict=True):
        scores, nothing = one_by_one(context)
        assert (answer.text == "") == (nothing > max(scores.values()))


@pytest.mark.parametrize("shards_parameters", [False, True])
@pytest.mark.parametrize("world_size", [2, 3])
def test_answers_are_those_of_one_rank_whatever_the_number_of_ranks(world_size: int, shards_parameters: bool) -> None:
    requests = [request(context) for context in CONTEXTS]
    alone = extract(OneProcess(model(), torch.device("cpu")), TOKENIZER, requests, LENGTH, AtOnce(2))
    meeting = Meeting(world_size)
    ranks = [Rank(rank, meeting, shards_parameters=shards_parameters) for rank in range(world_size)]
    with ThreadPoolExecutor(world_size) as pool:
        found = list(pool.map(lambda engine: extract(engine, TOKENIZER, requests, LENGTH, AtOnce(1)), ranks))
    assert all([answer.text for answer in of_rank] == [answer.text for answer in alone] for of_rank in found)
    passes = [engine.passes for engine in ranks]
    assert len(set(passes)) == 1 or not shards_parameters, "a sharded model needs all ranks in each forward pass"


def test_every_rank_is_asked_whether_to_go_on_equally_often() -> None:
    meeting, asked_on = Meeting(2), {0: 0, 1: 0}

    def ask(engine: Rank) -> None:
        def between() -> None:
            asked_on[engine.rank] += 1

        extract(engine, TOKENIZER, [request(context) for context in CONTEXTS[:3]], LENGTH, AtOnce(1), between)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, [Rank(rank, meeting, shards_parameters=False) for rank in range(2)]))
    assert asked_on[0] == asked_on[1] > 1


def test_spans_end_where_the_context_does_and_are_no_longer_than_allowed() -> None:
    window = Window((2, 9, 3, 4, 5, 6, 3), 3, ((0, 1), (2, 3), (4, 5)))
    scores = torch.zeros(7, 2)
    scores[1], scores[6], scores[3, 0], scores[5, 1], scores[4, 1] = 100.0, 100.0, 3.0, 2.0, 1.0
    assert best_spans(scores, window)[0] == Span(5.0, 0, 5)
    assert best_spans(scores, window, longest=2)[0] == Span(4.0, 0, 3)
    assert len(best_spans(scores, window)) == 6
    assert best_spans(scores, Window((2, 9, 3, 3), 3, ())) == []


def test_the_best_span_of_several_windows_is_taken_and_what_two_windows_hold_counts_once() -> None:
    context = "Ann and Ben"
    scored = Scored().with_window([Span(3.0, 0, 3), Span(1.0, 8, 11)], 9.0).with_window([Span(4.0, 8, 11), Span(2.0, 0, 3)], 1.0)
    assert scored.spans == (Span(4.0, 8, 11), Span(3.0, 0, 3))
    assert scored.nothing == 1.0
    found = answer_of(request(context), scored)
    assert (found.text, found.start, found.end) == ("Ben", 8, 11)
    assert found.score == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize(("may_lack", "nothing", "text"), [(True, 5.0, ""), (True, 4.0, "Ann"), (False, 5.0, "Ann")])
def test_no_answer_is_said_only_where_it_may_be_and_scores_higher(may_lack: bool, nothing: float, text: str) -> None:
    scored = Scored().with_window([Span(4.0, 0, 3)], nothing)
    assert answer_of(request("Ann came", may_lack=may_lack), scored).text == text


def test_spaces_around_an_answer_are_not_part_of_it_and_only_spaces_are_none() -> None:
    scored = Scored().with_window([Span(9.0, 3, 4), Span(4.0, 3, 8)], 0.0)
    assert answer_of(request("Ann came"), scored) == Extracted("came", False, 4, 8, 1.0)
    assert answer_of(request(" \n"), Scored().with_window([Span(1.0, 0, 1)], 0.0)).text == ""


def test_no_requests_have_no_answers() -> None:
    assert extract(OneProcess(model(), torch.device("cpu")), TOKENIZER, [], LENGTH, AtOnce(2)) == []
