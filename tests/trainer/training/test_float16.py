"""Training in float16: the loop repeats a step that overflows, says so, and ends a run that float16 cannot hold."""

import pytest
import torch

from finetune.api.sections import Training
from tests.trainer.engine.program import ROWS, new_model, rows_of_step
from tests.trainer.fixtures.batches import forward_of, step_batches
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.lossscale import LossScale
from trainer.engine.optimizer import AdamW
from trainer.objectives.causal import CAUSAL
from trainer.objectives.penalties import Penalties
from trainer.training.figures import Scaling, StepResult, TrainingDivergedError
from trainer.training.loop import Progress, Supervision, train

TOO_LARGE = 2.0**24
TRAINING = Training(max_steps=4, global_batch_size=ROWS, micro_batch_size=4, learning_rate=0.01, warmup_ratio=0.5)


def engine_at(scale: float, good_steps: int = 0) -> DdpEngine:
    engine = DdpEngine(new_model(), EngineSettings(AdamW(0.1), 1.0, 4, 2), torch.device("cpu"), dtype=torch.float16)
    engine.loss_scale = LossScale(scale, good_steps)
    return engine


def run(engine: DdpEngine, progress: Progress) -> list[StepResult]:
    results: list[StepResult] = []
    forward, supervision = forward_of(engine), Supervision(results.append)
    train(engine, forward, CAUSAL, lambda step: step_batches(rows_of_step(step)), TRAINING, Penalties(), progress, supervision)
    return results


def test_a_repeated_step_uses_up_neither_rows_nor_the_schedule_and_is_counted() -> None:
    engine, progress = engine_at(TOO_LARGE), Progress(4, 1)
    found = run(engine, progress)
    assert engine.loss_scale is not None
    repeated = progress.repeated_steps
    assert repeated >= 1
    assert engine.loss_scale == LossScale(TOO_LARGE / 2**repeated, 4)
    assert [result.scaling for result in found] == [Scaling(engine.loss_scale.scale, repeated)] * 4
    fitting = engine_at(engine.loss_scale.scale)
    expected = run(fitting, Progress(4, 1))
    figures = [[(r.progress.step, r.train_loss, r.gradient_norm, r.learning_rate) for r in results] for results in (found, expected)]
    assert figures[0] == figures[1]
    assert all(torch.equal(*pair) for pair in zip(engine.model.parameters(), fitting.model.parameters(), strict=True))


@pytest.mark.parametrize("scale", [2.0**8, 2.0**15])
def test_losses_are_those_of_float32(scale: float) -> None:
    exact = DdpEngine(new_model(), EngineSettings(AdamW(0.1), 1.0, 4, 2), torch.device("cpu"))
    wanted, found = run(exact, Progress(4, 1)), run(engine_at(scale), Progress(4, 1))
    assert [r.train_loss for r in found] == pytest.approx([r.train_loss for r in wanted], rel=1e-3)
    assert [r.gradient_norm for r in found] == pytest.approx([r.gradient_norm for r in wanted], rel=2e-3)
    assert [r.scaling for r in wanted] == [None] * 4


def test_a_gradient_that_overflows_at_every_scale_ends_the_run_and_says_what_to_do() -> None:
    engine = engine_at(2.0)
    engine.model.get_parameter("lm_head.weight").register_hook(lambda gradient: gradient * float("inf"))
    message = r"step 1: the gradient overflows float16.*training\.precision to bfloat16 or float32"
    with pytest.raises(TrainingDivergedError, match=message):
        run(engine, Progress(4, 1))


def test_a_loss_that_float16_cannot_hold_ends_the_run_without_trying_every_scale() -> None:
    engine, progress = engine_at(2.0**16), Progress(4, 1)
    with torch.no_grad():
        engine.model.get_parameter("model.embed_tokens.weight").mul_(1e30)
        engine.model.get_parameter("lm_head.weight").mul_(1e30)
    with pytest.raises(TrainingDivergedError, match=r"step 1: loss (nan|inf) in float16.*set training\.precision to bfloat16"):
        run(engine, progress)
    assert progress.repeated_steps == 1
