"""The order of rows is a function of (seed, epoch, step): permutations laid end to end, cut into full batches, of like length if asked."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from finetune.api.sections import Training
from trainer.data.rows import Sample
from trainer.data.sampler import WINDOW_BATCHES, Order, Replay, order_of, random_for, steps_total
from trainer.training.batches import deal

SIZES = st.integers(1, 60)
BATCHES = st.integers(1, 40)
SEEDS = st.integers(0, 2**31 - 1)
GROUPED = pytest.mark.parametrize("grouped", [False, True], ids=["random", "of like length"])


def skewed(rows: int) -> NDArray[np.int32]:
    """Return lengths of which most are small and a few are large, as those of sentences are."""
    random = random_for("lengths", rows)
    return np.array([min(128, 4 + int(random.expovariate(1 / 12))) for _ in range(rows)], np.int32)


def order(rows: int, batch: int, seed: int, *, grouped: bool = False) -> Order:
    return Order(rows, batch, seed, skewed(rows) if grouped else None)


@given(rows=SIZES, batch=BATCHES, seed=SEEDS, grouped=st.booleans())
def test_every_epoch_sees_every_row_once(rows: int, batch: int, seed: int, grouped: bool) -> None:
    epochs, drawn = 3, order(rows, batch, seed, grouped=grouped)
    seen = [pair for step in range(math.ceil(epochs * rows / batch)) for pair in drawn.batch(step)]
    for epoch in range(epochs):
        assert sorted(row for at, row in seen if at == epoch) == list(range(rows))


@given(rows=SIZES, batch=BATCHES, seed=SEEDS, grouped=st.booleans(), steps=st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_a_batch_is_the_same_whichever_steps_were_asked_for_before(
    rows: int, batch: int, seed: int, grouped: bool, steps: list[int]
) -> None:
    whole_run, resumed = (order(rows, batch, seed, grouped=grouped) for _ in range(2))
    expected = [whole_run.batch(step) for step in range(51)]
    assert [resumed.batch(step) for step in steps] == [expected[step] for step in steps]


@given(rows=SIZES, batch=BATCHES, seed=SEEDS, grouped=st.booleans(), step=st.integers(0, 1000))
def test_every_batch_is_full_and_its_epochs_never_fall(rows: int, batch: int, seed: int, grouped: bool, step: int) -> None:
    pairs = order(rows, batch, seed, grouped=grouped).batch(step)
    assert len(pairs) == batch
    assert [epoch for epoch, _ in pairs] == [(step * batch + place) // rows for place in range(batch)]


@given(rows=SIZES, batch=st.integers(1, 10), factor=st.integers(2, 4), seed=SEEDS)
def test_larger_batches_see_the_rows_in_the_same_order(rows: int, batch: int, factor: int, seed: int) -> None:
    small, large = order(rows, batch, seed), order(rows, batch * factor, seed)
    assert [pair for step in range(factor * 5) for pair in small.batch(step)] == [pair for step in range(5) for pair in large.batch(step)]


@GROUPED
def test_seeds_and_epochs_give_different_orders(grouped: bool) -> None:
    orders = {
        tuple(row for step in range(4 * epoch, 4 * epoch + 4) for _, row in order(100, 25, seed, grouped=grouped).batch(step))
        for epoch in range(3)
        for seed in range(3)
    }
    assert len(orders) == 9


@GROUPED
def test_the_order_is_the_same_in_another_process(grouped: bool) -> None:
    lengths = "np.arange(1000) % 37" if grouped else "None"
    program = f"import numpy as np; from trainer.data.sampler import Order; print(Order(1000, 8, 42, {lengths}).batch(7))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    here = Order(1000, 8, 42, np.arange(1000, dtype=np.int32) % 37 if grouped else None)
    assert other.stdout.strip() == str(here.batch(7))


def computed_to_real(order: Order, lengths: NDArray[np.int32], steps: int, micro: int) -> float:
    """Return how many tokens are computed for each real one where the micro-batches of a step are padded."""
    computed = real = 0
    for step in range(steps):
        rows = [(int(lengths[row]), str(row)) for _, row in order.batch(step)]
        for places in deal(rows, 0, 1, micro):
            computed += len(places) * max(rows[place][0] for place in places)
            real += sum(rows[place][0] for place in places)
    return computed / real


@pytest.mark.parametrize(("micro", "random_at_least", "grouped_at_most"), [(8, 1.25, 1.05), (32, 2.0, 1.15)])
def test_batches_of_like_length_have_hardly_any_padding(micro: int, random_at_least: float, grouped_at_most: float) -> None:
    rows, batch = 5000, 32
    lengths, steps = skewed(rows), 4 * rows // batch
    assert computed_to_real(Order(rows, batch, 1), lengths, steps, micro) > random_at_least
    assert computed_to_real(Order(rows, batch, 1, lengths), lengths, steps, micro) < grouped_at_most


def test_batches_of_like_length_come_in_a_random_order_and_meet_other_rows_in_every_epoch() -> None:
    rows, batch = 3200, 16
    lengths, steps = skewed(rows), rows // batch
    drawn = Order(rows, batch, 7, lengths)
    epochs = [[[row for _, row in drawn.batch(epoch * steps + step)] for step in range(steps)] for epoch in range(2)]
    for batches in epochs:
        means = [float(lengths[batch].mean()) for batch in batches]
        assert abs(np.corrcoef(means, range(steps))[0, 1]) < 0.2, "lengths neither rise nor fall over an epoch"
        assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2, "a batch says nothing of the length of the next"
    met = [{(one, other) for batch in batches for one in batch for other in batch if one < other} for batches in epochs]
    assert len(met[0] & met[1]) < 0.1 * len(met[0])


def test_rows_of_like_length_are_brought_together_within_a_window_only() -> None:
    """Else a batch would have one length, and rows of rare lengths would meet the same ones in every epoch."""
    rows, batch = 4 * 8 * WINDOW_BATCHES, 8
    drawn = Order(rows, batch, 3, np.arange(rows, dtype=np.int32))
    widths = [np.ptp([row for _, row in drawn.batch(step)]) for step in range(rows // batch)]
    assert np.median(widths) > 2 * batch  # of all rows together it would be batch - 1


def test_a_job_decides_whether_its_rows_are_grouped_and_by_which_length() -> None:
    rows = [
        Sample(str(place), [1] * length, [True] * length, 1, truncated=False, tail=0) for place, length in enumerate(skewed(400).tolist())
    ]
    training = Training.model_validate({"epochs": 1, "globalBatchSize": 8, "seed": 5})
    for grouped in (False, True):
        found = order_of(training.model_copy(update={"group_by_length": grouped}), rows)
        assert [found.batch(step) for step in range(50)] == [order(400, 8, 5, grouped=grouped).batch(step) for step in range(50)]


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
        Order(0, 4, 1)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("replayed", [0, 20])
def test_each_version_of_a_row_waits_for_a_version_of_all_others(grouped: bool, replayed: int) -> None:
    rows, versions, batch, epochs = 70, 5, 16, 3
    lengths = np.concatenate([np.tile(skewed(rows), versions), skewed(40)])
    replay = Replay(40, replayed, 4) if replayed else None
    order = Order(rows * versions, batch, 4, lengths if grouped else None, replay, versions)
    drawn = [pair for step in range(epochs * order.rows // batch + 1) for pair in order.batch(step)]

    for epoch in range(epochs):
        of_epoch = [number for drawn_in, number in drawn if drawn_in == epoch]
        assert sorted(number for number in of_epoch if number < rows * versions) == list(range(rows * versions)), "each version once"
        for turn in range(versions):
            first, last = (order.rows * end // versions for end in (turn, turn + 1))
            of_round = [number for number in of_epoch[first:last] if number < rows * versions]
            # Replayed rows lie between them, so that a round ends a row earlier or later.
            assert len({number % rows for number in of_round}) >= len(of_round) - (1 if replayed else 0)
            assert len({number // rows for number in of_round}) == versions, "in different versions"


@pytest.mark.parametrize("versions", [1, 4])
def test_batches_of_like_length_come_in_random_order(versions: int) -> None:
    rows, batch = 320, 16
    lengths = np.tile(skewed(rows), versions)
    order = Order(rows * versions, batch, 4, lengths, versions=versions)
    longest = [max(int(lengths[number]) for _, number in order.batch(step)) for step in range(rows // batch)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_batches_of_versions_are_still_of_like_length() -> None:
    rows, versions, batch = 320, 4, 16
    lengths = np.tile(skewed(rows), versions)

    grouped = Order(rows * versions, batch, 4, lengths, versions=versions)

    assert computed_to_real(grouped, lengths, 80, batch) < 0.7 * computed_to_real(Order(rows * versions, batch, 4), lengths, 80, batch)
