"""How the loss scale of float16 goes up and down, and what an engine does with it."""

import pytest
import torch
from torch import nn

from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.lossscale import FIRST_SCALE, GROWTH_STEPS, LossScale
from trainer.engine.optimizer import AdamW


def test_the_scale_is_halved_at_an_overflow_and_doubled_after_many_steps_without_one() -> None:
    scale = LossScale()
    assert not scale.fits(overflowed=True)
    assert scale.scale == FIRST_SCALE / 2
    for _ in range(GROWTH_STEPS - 1):
        assert scale.fits(overflowed=False)
    assert not scale.fits(overflowed=True)
    assert scale.scale == FIRST_SCALE / 4, "an overflow begins the count again"
    for _ in range(GROWTH_STEPS):
        assert scale.fits(overflowed=False)
    assert scale.scale == FIRST_SCALE / 2


def test_a_scale_goes_on_from_a_checkpoint_with_its_count_of_steps() -> None:
    before, after = LossScale(), LossScale()
    before.fits(overflowed=True)
    for _ in range(GROWTH_STEPS - 1):
        before.fits(overflowed=False)
    after.load_state(before.to_state())
    for scale in (before, after):
        scale.fits(overflowed=False)
    assert before == after == LossScale(FIRST_SCALE, 0)


@pytest.mark.parametrize(("scale", "collapsed"), [(2.0, False), (1.0, False), (0.5, True)])
def test_a_scale_that_makes_the_loss_smaller_has_collapsed(scale: float, collapsed: bool) -> None:
    assert LossScale(scale).collapsed is collapsed


def engine_with(gradient: float, clipping: float) -> DdpEngine:
    """Return an engine whose only weights, four ones, have a gradient that was computed at the engine's scale."""
    model = nn.Linear(4, 1, bias=False)
    nn.init.ones_(model.weight)
    engine = DdpEngine(model, EngineSettings(AdamW(0.0), clipping, 1, 1), torch.device("cpu"), dtype=torch.float16)
    model.weight.grad = torch.full_like(model.weight, gradient)
    return engine


@pytest.mark.parametrize("clipping", [0.0, 0.5])
def test_gradients_are_clipped_and_their_norm_is_given_in_their_own_units(clipping: float) -> None:
    engine = engine_with(3.0 * FIRST_SCALE, clipping)
    norm = engine.step(0.1)
    assert norm is not None
    assert norm.item() == pytest.approx(6.0)
    clipped = 3.0 if clipping == 0 else 3.0 * clipping / 6.0
    assert engine.state().slots["exp_avg"]["weight"].flatten().tolist() == pytest.approx([0.1 * clipped] * 4, rel=1e-4)


@pytest.mark.parametrize("gradient", [float("inf"), float("nan")])
def test_a_gradient_that_is_no_number_changes_neither_weights_nor_moments_nor_the_count_of_steps(gradient: float) -> None:
    engine = engine_with(FIRST_SCALE, 1.0)
    engine.step(0.1)
    before, weight = engine.state().groups(), engine.model.get_parameter("weight")
    weight.grad = torch.tensor([[1.0, gradient, 1.0, 1.0]])
    assert engine.step(0.1) is None
    after = engine.state().groups()
    assert all(torch.equal(before[group]["weight"], after[group]["weight"]) for group in before)
    assert weight.grad is None
    assert engine.loss_scale == LossScale(FIRST_SCALE / 2, 0)
    weight.grad = torch.full_like(weight, FIRST_SCALE / 2)
    unbroken = engine_with(FIRST_SCALE, 1.0)
    unbroken.step(0.1)
    unbroken.model.get_parameter("weight").grad = torch.full_like(weight, FIRST_SCALE)
    for each in (engine, unbroken):
        each.step(0.1)
    assert torch.equal(weight, unbroken.model.get_parameter("weight")), "Adam's bias correction counts the steps that were taken"
