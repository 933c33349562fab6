"""The loss on training rows beside that on validation rows: measured alike, on a bounded sample, and what is said of its course."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from finetune.api.metrics import Needs
from finetune.api.record import Generalization
from finetune.api.sections import FullMethod, Method, Regularization
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import random_prompts, tiny_model
from trainer.data.rows import Sample
from trainer.driver.derived import derived
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.generalization import (
    REMEDIES,
    SAMPLED_ROWS,
    WORSE,
    mean_loss,
    measured_loss,
    point_of,
    remedies_of,
    sampled,
    warnings_of,
)
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.evidence import Answers, Classified, ClassPrediction, TokenRows
from trainer.model.lora import apply_method
from trainer.objectives.causal import CAUSAL
from trainer.objectives.family import CAUSAL_LM
from trainer.training.batches import AtOnce


def rows(count: int) -> list[Sample]:
    prompts = random_prompts([4 + n % 5 for n in range(count)])
    return [Sample(f"row-{n}", ids, [place > 1 for place in range(len(ids))], 0, truncated=False, tail=0) for n, ids in enumerate(prompts)]


@pytest.mark.parametrize(("count", "wanted", "expected"), [(30, 7, 7), (5, 7, 5), (500, 400, SAMPLED_ROWS)])
def test_as_many_training_rows_as_validation_rows_are_measured_up_to_a_limit(count: int, wanted: int, expected: int) -> None:
    names = [row.id for row in sampled(rows(count), wanted, 1, "train")]

    assert len(set(names)) == expected


def test_they_are_a_function_of_the_seed() -> None:
    one, same, other = ([row.id for row in sampled(rows(50), 10, seed, "train")] for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_the_loss_is_that_of_the_weights_without_dropout_noise_and_penalties() -> None:
    made: Any = apply_method(tiny_model(), Method(full=FullMethod()), Regularization(dropout=0.5, neftuneNoiseAlpha=9), 1, CAUSAL_LM)
    engine = DdpEngine(made, EngineSettings(AdamW(0.0), 0.0, 2, 1), torch.device("cpu"))

    found = mean_loss(engine, forward_of(engine), CAUSAL, rows(5), AtOnce(2), lambda: None)

    plain, nll, units = tiny_model().eval(), 0.0, 0
    for row in rows(5):
        scores = plain(torch.tensor([row.input_ids])).logits[0].detach().double().log_softmax(-1)
        for place in range(2, len(row.input_ids)):
            nll, units = nll - float(scores[place - 1, row.input_ids[place]]), units + 1
    assert found == pytest.approx(nll / units, rel=1e-5)
    assert made.training


def test_rows_without_anything_to_learn_have_no_loss() -> None:
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 0.0, 2, 1), torch.device("cpu"))
    nothing = [Sample("a", [5, 6, 7], [False] * 3, 0, truncated=False, tail=0)]

    assert math.isnan(mean_loss(engine, forward_of(engine), CAUSAL, nothing, AtOnce(2), lambda: None))


def test_the_loss_of_tokens_and_of_classes_is_in_what_was_measured_already() -> None:
    of_tokens = TokenRows(np.array([3.0, 5.0]), np.array([1, 3]), np.array([1, 1]))
    one = Classified(("a", "b"), (ClassPrediction((0,), (0.25, 0.75)), ClassPrediction((1,), (0.5, 0.5))))
    several = Classified(("a", "b"), (ClassPrediction((0, 1), (0.25, 0.5)), ClassPrediction((), (0.25, 0.5))), several=True)

    def loss(needs: Needs, evidence: Any) -> float | None:
        return measured_loss(Measurement({}, {needs: evidence}))

    assert loss(Needs.TOKEN_SUMS, of_tokens) == pytest.approx(8 / 4)
    assert loss(Needs.CLASSES, one) == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert loss(Needs.CLASSES, several) == pytest.approx((math.log(4) + math.log(2) + math.log(4 / 3) + math.log(2)) / 4)
    assert loss(Needs.SPANS, Answers()) is None


@pytest.mark.parametrize("losses", [(math.nan, 1.0), (1.0, math.inf)])
def test_what_is_no_number_is_no_point(losses: tuple[float, float]) -> None:
    assert point_of(1, *losses) is None


def curve(*losses: tuple[float, float]) -> list[Generalization]:
    points = [point_of(10 * step, *pair) for step, pair in enumerate(losses, start=1)]
    return [point for point in points if point is not None]


def test_the_gap_is_what_unseen_rows_lose_more() -> None:
    [point] = curve((0.5, 2.0))

    assert point.to_wire() == {"step": 10, "trainLoss": 0.5, "validationLoss": 2.0, "gap": 1.5}


def test_a_model_that_is_nearly_always_right_is_not_accused_for_the_last_digits_of_its_loss() -> None:
    assert warnings_of(curve((0.0002, 0.0002), (0.0002, 0.0004), (0.0001, 0.0006)), REMEDIES) == []
    assert len(warnings_of(curve((0.0002, 0.0002), (0.0002, 0.02), (0.0001, 0.03)), REMEDIES)) == 1


@pytest.mark.parametrize(
    ("losses", "warned"),
    [
        pytest.param([(2, 2), (1, 1.5), (0.5, 1.6), (0.2, 1.8)], True, id="worse twice while the gap grows"),
        pytest.param([(2, 2), (1, 1.5), (0.5, 1.6)], False, id="worse once"),
        pytest.param([(2, 2), (1, 1.5), (0.5, 1.6), (0.4, 1.4), (0.3, 1.5)], False, id="better in between"),
        pytest.param([(2, 2), (1, 1.5), (1.5, 1.9), (1.6, 2.0)], False, id="training rows get worse as much"),
        pytest.param([(2, 2), (1, 1.5), (0.5, 1.45), (0.1, 1.4)], False, id="the gap grows while unseen rows gain"),
        pytest.param([], False, id="nothing was validated"),
    ],
)
def test_learning_by_heart_is_said_after_two_validations_in_a_row(losses: list[tuple[float, float]], warned: bool) -> None:
    assert WORSE == 2
    found = warnings_of(curve(*losses), REMEDIES)

    assert len(found) == int(warned)
    if warned:
        assert found[0].startswith(
            "overfitting since step 20: by step 40 validation loss rose from 1.5000 to 1.8000 nats while training loss fell from 1.0000 to"
            " 0.2000; try regularization.earlyStopping, "
        )


def test_a_training_loss_that_rises_too_is_no_overfitting_and_another_learning_rate_is_advised() -> None:
    found = warnings_of(curve((2, 2), (1, 1.5), (1.1, 1.8), (1.2, 1.9)), REMEDIES)
    assert found == [
        "both losses rise since step 20: by step 40 validation loss rose from 1.5000 to 1.9000 nats, and training loss from 1.0000 to"
        " 1.2000; try a lower training.learningRate, or a longer training.warmupRatio"
    ]


def test_rows_that_are_learned_by_heart_after_both_losses_rose_are_told_too() -> None:
    spike = [(2.0, 2.1), (2.5, 2.8), (2.6, 2.9), (2.6, 3.0), (2.6, 3.0)]
    later = [(1.5, 1.7), (0.8, 1.6), (0.4, 2.0), (0.2, 2.6), (0.1, 3.2), (0.05, 3.8)]
    [risen] = warnings_of(curve(*spike), REMEDIES)
    assert risen.startswith("both losses rise since step 10: by step 30 ")
    first, second = warnings_of(curve(*spike, *later), REMEDIES)
    assert first == risen
    assert second.startswith(
        "overfitting since step 70: by step 90 validation loss rose from 1.6000 to 2.6000 nats while training loss fell"
    )


def test_what_does_nothing_in_a_run_is_not_advised_to_it() -> None:
    overfits = curve((2, 2), (1, 1.5), (0.5, 1.6), (0.2, 1.8))

    def advised(config: TrainConfig) -> str:
        [found] = warnings_of(overfits, remedies_of(config))
        return found.partition("; try ")[2]

    plain, stopping = train_config(), train_config(regularization={"earlyStopping": {}}, data__validationFraction=0.1)
    rest = "fewer training.epochs, more of regularization (dropout, weightDecay)"
    assert advised(plain) == f"regularization.earlyStopping, {rest}, augmentation or more rows"
    assert advised(stopping) == f"{rest}, augmentation or more rows"
    assert advised(derived(plain, "domain corpus", "adaptation")) == f"{rest} or more rows"
    assert advised(derived(plain, "ablation dropout", "ablations/dropout", figures_only=True)) == advised(plain)
