from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.gpu.figures import measured
from bench.gpu.shapes import SMALL_SHAPES

SHAPE = replace(SMALL_SHAPES[0], steps=8)
"""Its checkpoint is saved after step 5."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def lines(seconds_of_steps: list[float]) -> list[dict[str, Any]]:
    """Each step has 100 tokens."""
    return [
        {"time": (START + timedelta(seconds=second)).isoformat(), "tokensSeen": 100 * step, "trainLoss": 2.0}
        for step, second in enumerate(seconds_of_steps, start=1)
    ]


def test_the_rate_leaves_out_warm_up_and_checkpoint_and_the_stall_is_what_the_checkpoint_took() -> None:
    found = measured(SHAPE, "a program", lines([30, 40, 45, 47, 49, 54, 56, 58]), 2**30, flops=1e9)
    assert found.step_seconds == pytest.approx(2)
    assert found.tokens_per_second == pytest.approx(50)
    assert found.checkpoint_stall_seconds == pytest.approx(3)
    assert found.mfu == pytest.approx(50 * SHAPE.flops_per_token / 1e9)
    assert found.tokens == (100,) * 8


def test_a_card_of_unknown_arithmetic_has_no_mfu() -> None:
    found = measured(SHAPE, "a program", lines([1, 2, 3, 4, 5, 6, 7, 8]), 2**30, flops=None)
    assert found.mfu is None
    assert found.to_wire()["mfu"] is None
    assert found.checkpoint_stall_seconds == 0


def test_a_run_that_ended_early_has_no_figures() -> None:
    with pytest.raises(ValueError, match=r"a program on small LoRA: 3 steps, 8 were expected"):
        measured(SHAPE, "a program", lines([1, 2, 3]), 2**30, flops=None)
