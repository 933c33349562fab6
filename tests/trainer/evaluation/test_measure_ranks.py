"""An evaluation over several ranks gives what one rank gives, in order, and a rank without rows of its own does nothing.

The ranks are threads that meet where ranks gather; engine/test_invariance.py has them as processes.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jiwer
import pytest
import sacrebleu
import torch
from torch import Tensor

from finetune.api.evaluation import Generation, TextNormalization
from finetune.api.metrics import MetricName
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import random_prompts, tiny_model, tiny_tokenizer
from tests.trainer.fixtures.examples import chat
from trainer.data.rows import Sample
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import measure
from trainer.evaluation.generation import Generated, generate
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.predictors import generate_over_ranks
from trainer.objectives.causal import CAUSAL
from trainer.tasks.chat import CHAT
from trainer.training.batches import AtOnce

NEW_TOKENS = 8


class Meeting:
    """Where the ranks wait for each other."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self._values: list[Any] = [None] * world_size
        self._barrier = threading.Barrier(world_size, timeout=60)

    def gather(self, rank: int, value: Any) -> list[Any]:
        self._values[rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values


class ThreadEngine(DdpEngine):
    """One rank with a model of its own; counts its forward passes."""

    def __init__(self, rank: int, meeting: Meeting, *, shards_parameters: bool) -> None:
        super().__init__(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 2, 1), torch.device("cpu"))
        self.rank, self.world_size, self._meeting, self.shards_parameters = rank, meeting.world_size, meeting, shards_parameters
        self.passes = 0

    def forward(self, **inputs: Any) -> Tensor:
        self.passes += 1
        return super().forward(**inputs)

    def gather(self, value: Any) -> list[Any]:
        return self._meeting.gather(self.rank, value)

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        return torch.stack(self.gather(values)).sum(0)

    def sums_over_ranks(self, values: Sequence[float]) -> list[float]:
        return [sum(column) for column in zip(*self.gather(values), strict=True)]


def engines(world_size: int, *, shards_parameters: bool = False) -> list[ThreadEngine]:
    meeting = Meeting(world_size)
    return [ThreadEngine(rank, meeting, shards_parameters=shards_parameters) for rank in range(world_size)]


def on_all(ranks: list[ThreadEngine], act: Any) -> list[Any]:
    with ThreadPoolExecutor(len(ranks)) as pool:
        return list(pool.map(act, ranks))


def answers(ranks: list[ThreadEngine], prompts: list[list[int]]) -> list[list[Generated]]:
    return on_all(ranks, lambda engine: generate_over_ranks(engine, tiny_tokenizer(), prompts, NEW_TOKENS, batch_size=2))


def samples(count: int) -> list[Sample]:
    lengths = [5 + 2 * index for index in range(count)]
    return [Sample(str(index), ids, [False] + [True] * (len(ids) - 1), 9, truncated=False, tail=0)
            for index, ids in enumerate(random_prompts(lengths))]  # fmt: skip


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[9, 3, 17, 5, 12], [4, 4, 4, 4], [6]], ids=["uneven", "even", "one prompt"])
def test_every_rank_has_all_answers_in_the_order_of_the_prompts(world_size: int, lengths: list[int]) -> None:
    prompts = random_prompts(lengths)
    expected = [generate(tiny_model(), tiny_tokenizer(), [prompt], NEW_TOKENS)[0] for prompt in prompts]
    assert len({answer.text for answer in expected}) == len(prompts), "the test needs prompts with different answers"
    assert answers(engines(world_size), prompts) == [expected] * world_size


@pytest.mark.parametrize(("shards_parameters", "computed"), [(False, [0, 1]), (True, [1, 1])], ids=["whole", "sharded"])
def test_a_rank_without_prompts_generates_nothing_unless_parameters_are_sharded(
    shards_parameters: bool, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def count(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *_: Any, synced: bool, **__: Any) -> list[Generated]:
        assert synced == shards_parameters
        asked.append(len(prompts))
        return [Generated(str(prompt[0]), cut=False) for prompt in prompts]

    monkeypatch.setattr("trainer.evaluation.predictors.generate", count)
    assert answers(engines(2, shards_parameters=shards_parameters), [[7, 8]]) == [[Generated("7", cut=False)]] * 2
    assert sorted(asked) == computed


def test_ranks_of_sharded_parameters_generate_for_equally_many_prompts_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def count(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *_: Any, **__: Any) -> list[Generated]:
        asked.append(len(prompts))
        return [Generated(str(prompt[0]), cut=False) for prompt in prompts]

    monkeypatch.setattr("trainer.evaluation.predictors.generate", count)
    prompts = [[number] * (9 - number) for number in range(1, 8)]
    expected = [Generated(str(number), cut=False) for number in range(1, 8)]
    assert answers(engines(2, shards_parameters=True), prompts) == [expected] * 2
    assert sorted(asked) == [2, 2, 2, 2], "seven prompts, two at once on each of two ranks"


CHATS = [chat(f"what is row {number}?" * (1 + number % 3), f"a row with number {number} and more") for number in range(5)]


@pytest.mark.parametrize("world_size", [1, 2])
def test_figures_of_answers_are_those_of_the_libraries_on_the_same_strings_though_rows_divide_unevenly(world_size: int) -> None:
    names = (MetricName.BLEU, MetricName.CHRF, MetricName.WER, MetricName.CER)
    held_out = HeldOut(CHAT, tiny_tokenizer(), CHATS, [], AtOnce(2, 120), 100, Generation(max_new_tokens=NEW_TOKENS),
                       TextNormalization.NONE)  # fmt: skip
    found = on_all(engines(world_size), lambda engine: measure(engine, forward_of(engine), held_out, names))
    assert found == [found[0]] * world_size
    answers = [row.answer for row in found[0].predictions]
    references = [row.references[0] for row in found[0].predictions]
    assert references == [example.answer for example in CHATS]
    plain, given = ([" ".join(text.split()) for text in side] for side in (references, answers))
    assert [found[0].figures[name].value for name in names] == pytest.approx([
        sacrebleu.corpus_bleu(answers, [references]).score, sacrebleu.corpus_chrf(answers, [references]).score,
        jiwer.wer(plain, given), jiwer.cer(plain, given),
    ])  # fmt: skip


def test_a_stop_ends_generation_between_two_batches_on_all_ranks() -> None:
    ranks, prompts, calls = engines(2), random_prompts([4, 5, 6, 7, 8, 9, 10]), [0, 0]

    class StoppedError(Exception):
        pass

    def generate_until(engine: ThreadEngine) -> str:
        def between() -> None:
            calls[engine.rank] += 1
            if calls[engine.rank] == 2:
                raise StoppedError

        try:
            generate_over_ranks(engine, tiny_tokenizer(), prompts, NEW_TOKENS, batch_size=2, between=between)
        except StoppedError:
            return "stopped"
        return "answered"

    assert on_all(ranks, generate_until) == ["stopped", "stopped"]
    assert calls == [2, 2]


def nll_of(engine: ThreadEngine, rows: Sequence[Sample]) -> float:
    return token_rows(engine, forward_of(engine), CAUSAL, rows, AtOnce(2)).sums.nll_sum


@pytest.mark.parametrize("shards_parameters", [False, True], ids=["whole", "sharded"])
def test_a_rank_without_rows_waits_unless_parameters_are_sharded(shards_parameters: bool) -> None:
    ranks, rows = engines(2, shards_parameters=shards_parameters), samples(3)
    found = on_all(ranks, lambda engine: token_rows(engine, forward_of(engine), CAUSAL, rows, AtOnce(2)))
    assert [engine.passes for engine in ranks] == [1, 1]
    alone = engines(1)
    assert found[0] == found[1]
    assert found[0].sums.nll_sum == pytest.approx(
        token_rows(alone[0], forward_of(alone[0]), CAUSAL, rows, AtOnce(2)).sums.nll_sum, rel=1e-6
    )
    few = on_all(ranks, lambda engine: token_rows(engine, forward_of(engine), CAUSAL, rows[:1], AtOnce(2)))
    assert [engine.passes for engine in ranks] == [2, 2 if shards_parameters else 1]
    assert few[0].sums.nll_sum == pytest.approx(
        token_rows(alone[0], forward_of(alone[0]), CAUSAL, rows[:1], AtOnce(2)).sums.nll_sum, rel=1e-6
    )
