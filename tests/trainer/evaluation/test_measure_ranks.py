"""An evaluation over several ranks gives what one rank gives, in order, and a rank without rows of its own does nothing.

The ranks are threads that meet where ranks gather; engine/test_invariance.py has them as processes.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import random_prompts, tiny_model, tiny_tokenizer
from trainer.data.rows import Sample
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import sum_over_tokens
from trainer.evaluation.generation import Generated, generate
from trainer.evaluation.predictors import generate_over_ranks
from trainer.objectives.causal import CAUSAL

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
        super().__init__(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 2, 1), torch.device("cpu"), bfloat16=False)
        self.rank, self.world_size, self._meeting, self.shards_parameters = rank, meeting.world_size, meeting, shards_parameters
        self.passes = 0

    def forward(self, **inputs: Any) -> Tensor:
        self.passes += 1
        return super().forward(**inputs)

    def gather(self, value: Any) -> list[Any]:
        return self._meeting.gather(self.rank, value)

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


def token_rows(count: int) -> list[Sample]:
    lengths = [5 + 2 * index for index in range(count)]
    return [Sample(str(index), ids, [False] + [True] * (len(ids) - 1), 9, truncated=False)
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

    def count(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *_: Any, synced: bool) -> list[Generated]:
        assert synced == shards_parameters
        asked.append(len(prompts))
        return [Generated(str(prompt[0]), cut=False) for prompt in prompts]

    monkeypatch.setattr("trainer.evaluation.predictors.generate", count)
    assert answers(engines(2, shards_parameters=shards_parameters), [[7, 8]]) == [[Generated("7", cut=False)]] * 2
    assert sorted(asked) == computed


@pytest.mark.parametrize("shards_parameters", [False, True], ids=["whole", "sharded"])
def test_a_rank_without_rows_waits_unless_parameters_are_sharded(shards_parameters: bool) -> None:
    ranks, rows = engines(2, shards_parameters=shards_parameters), token_rows(3)
    found = on_all(ranks, lambda engine: sum_over_tokens(engine, forward_of(engine), CAUSAL, rows, batch_size=2))
    assert [engine.passes for engine in ranks] == [1, 1]
    alone = engines(1)
    assert found[0] == found[1]
    assert found[0].nll_sum == pytest.approx(sum_over_tokens(alone[0], forward_of(alone[0]), CAUSAL, rows, batch_size=2).nll_sum, rel=1e-6)
    few = on_all(ranks, lambda engine: sum_over_tokens(engine, forward_of(engine), CAUSAL, rows[:1], batch_size=2))
    assert [engine.passes for engine in ranks] == [2, 2 if shards_parameters else 1]
    assert few[0].nll_sum == pytest.approx(
        sum_over_tokens(alone[0], forward_of(alone[0]), CAUSAL, rows[:1], batch_size=2).nll_sum, rel=1e-6
    )
