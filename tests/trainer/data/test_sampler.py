"""The order of rows is a function of (seed, epoch, step): permutations laid end to end, cut into full batches."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.sections import Training
from trainer.data.sampler import batch_at, steps_total

SIZES = st.integers(1, 60)
BATCHES = st.integers(1, 40)
SEEDS = st.integers(0, 2**31 - 1)


@given(rows=SIZES, batch=BATCHES, seed=SEEDS)
def test_every_epoch_sees_every_row_once(rows: int, batch: int, seed: int) -> None:
    epochs = 3
    seen = [pair for step in range(math.ceil(epochs * rows / batch)) for pair in batch_at(step, rows, batch, seed)]
    for epoch in range(epochs):
        assert sorted(row for at, row in seen if at == epoch)[:rows] == list(range(rows))


@given(rows=SIZES, batch=BATCHES, seed=SEEDS, steps=st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_a_batch_is_the_same_whichever_steps_were_asked_for_before(rows: int, batch: int, seed: int, steps: list[int]) -> None:
    whole_run = [batch_at(step, rows, batch, seed) for step in range(51)]
    assert [batch_at(step, rows, batch, seed) for step in steps] == [whole_run[step] for step in steps]


@given(rows=SIZES, batch=BATCHES, seed=SEEDS, step=st.integers(0, 1000))
def test_every_batch_is_full_and_its_epochs_never_fall(rows: int, batch: int, seed: int, step: int) -> None:
    pairs = batch_at(step, rows, batch, seed)
    assert len(pairs) == batch
    assert [epoch for epoch, _ in pairs] == [(step * batch + place) // rows for place in range(batch)]


@given(rows=SIZES, batch=st.integers(1, 10), factor=st.integers(2, 4), seed=SEEDS)
def test_larger_batches_see_the_rows_in_the_same_order(rows: int, batch: int, factor: int, seed: int) -> None:
    small = [pair for step in range(factor * 5) for pair in batch_at(step, rows, batch, seed)]
    large = [pair for step in range(5) for pair in batch_at(step, rows, batch * factor, seed)]
    assert small == large


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {tuple(row for _, row in batch_at(epoch, 100, 100, seed)) for epoch in range(3) for seed in range(3)}
    assert len(orders) == 9


def test_the_order_is_the_same_in_another_process() -> None:
    program = "from trainer.data.sampler import batch_at; print(batch_at(7, 1000, 8, 42))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == str(batch_at(7, 1000, 8, 42))


@pytest.mark.parametrize(
    ("rows", "training", "steps"),
    [
        pytest.param(100, {"epochs": 1, "globalBatchSize": 32}, 4, id="the last batch is filled up"),
        pytest.param(96, {"epochs": 1, "globalBatchSize": 32}, 3, id="rows fit exactly"),
        pytest.param(100, {"epochs": 0.5, "globalBatchSize": 10}, 5, id="half an epoch"),
        pytest.param(30, {"epochs": 0.1, "globalBatchSize": 3}, 1, id="a share that is no binary fraction"),
        pytest.param(5, {"epochs": 0.01, "globalBatchSize": 4}, 1, id="at least one step"),
        pytest.param(100, {"maxSteps": 7}, 7, id="steps given"),
    ],
)
def test_the_number_of_steps_covers_the_epochs(rows: int, training: dict[str, float], steps: int) -> None:
    assert steps_total(rows, Training.model_validate(training)) == steps


def test_no_rows_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no rows"):
        batch_at(0, 0, 4, 1)
