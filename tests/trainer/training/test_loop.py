"""Rate and ETA of a run, and what ends it: the loop on a tiny model, on one rank."""

import math

import pytest
import torch

from finetune.api.sections import Training
from tests.trainer.engine.program import ROWS, new_model, rows_of_step
from tests.trainer.fixtures.stored import deal_rows
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import sum_over_tokens
from trainer.evaluation.metrics.likelihood import Perplexity
from trainer.model.dropout import add_block_dropout
from trainer.objectives.causal import CAUSAL, CausalBatch
from trainer.training.loop import Progress, StepResult, TrainingDivergedError, seed_step, train


def batches(step: int) -> list[CausalBatch]:
    """Return the same micro-batches for every step."""
    return [CAUSAL.collate(rows) for rows in deal_rows(rows_of_step(0), 0, 1, 4)]


def engine() -> DdpEngine:
    return DdpEngine(new_model(), EngineSettings(AdamW(0.0), 1.0, 4, 2), torch.device("cpu"), bfloat16=False)


class Recorder:
    """Keeps each step's result; ends training after `stop_after` steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.results, self.stop_after = [], stop_after

    def after_step(self, progress: Progress, result: StepResult) -> None:
        self.results.append(result)
        if self.stop_after is not None and progress.step >= self.stop_after:
            progress.stop_reason = "enough"


def run(progress: Progress, recorder: Recorder, learning_rate: float = 0.01) -> None:
    training = Training(
        max_steps=progress.total_steps, global_batch_size=ROWS, micro_batch_size=4, learning_rate=learning_rate, warmup_ratio=0.0
    )
    train(engine(), CAUSAL, batches, training, 0.0, progress, [recorder])


def test_training_on_one_batch_lowers_its_loss_step_by_step() -> None:
    recorder, progress = Recorder(), Progress(total_steps=6, steps_per_epoch=1)
    run(progress, recorder)
    losses = [result.train_loss for result in recorder.results]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.3
    assert progress.tokens_seen == 6 * sum(len(row.input_ids) for row in rows_of_step(0))


def test_a_hook_can_end_training() -> None:
    progress = Progress(total_steps=100, steps_per_epoch=10)
    run(progress, Recorder(stop_after=2))
    assert (progress.step, progress.stop_reason) == (2, "enough")


def test_a_loss_that_is_no_number_ends_training_before_it_is_written_anywhere() -> None:
    broken = engine()
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    recorder = Recorder()
    with pytest.raises(TrainingDivergedError, match=r"step 1: loss nan.*training\.learningRate"):
        train(broken, CAUSAL, batches, Training(max_steps=2), 0.0, Progress(2, 1), [recorder])
    assert recorder.results == []


def test_rate_and_eta_come_from_steps_alone_and_outlive_a_pause() -> None:
    progress = Progress(total_steps=10, steps_per_epoch=5)
    progress.mark(100.0)
    progress.step, progress.tokens_seen = 1, 50
    progress.mark(102.0)
    assert (progress.to_record().tokens_per_second, progress.to_record().eta_seconds) == (pytest.approx(25.0), pytest.approx(18.0))
    progress.pause()
    assert (progress.to_record().tokens_per_second, progress.to_record().eta_seconds) == (pytest.approx(25.0), None)
    progress.mark(500.0)
    progress.step, progress.tokens_seen = 2, 150
    progress.mark(502.0)
    assert progress.to_record().tokens_per_second == pytest.approx(50.0)
    assert (progress.step_seconds, progress.step_tokens) == (pytest.approx(4.0), 150)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_perplexity_does_not_depend_on_the_batch_size_and_equals_an_independent_computation(batch_size: int) -> None:
    model, nll, tokens = new_model().eval(), 0.0, 0
    for row in rows_of_step(0):
        with torch.no_grad():
            scores = model(torch.tensor([row.input_ids])).logits[0].double().log_softmax(dim=-1)
        for position in range(1, len(row.input_ids)):
            if row.loss_mask[position]:
                nll -= scores[position - 1, row.input_ids[position]].item()
                tokens += 1
    found = sum_over_tokens(engine(), CAUSAL, rows_of_step(0), batch_size)
    assert found.tokens == tokens
    assert Perplexity().compute([found]).value == pytest.approx(math.exp(nll / tokens), rel=1e-5)


@pytest.mark.parametrize("seed", [0, 42, 300_000_000, 2**31 - 1])
def test_every_seed_that_the_schema_allows_gives_numbers_that_repeat_and_differ_by_step_and_rank(seed: int) -> None:
    def draw(step: int, rank: int) -> float:
        seed_step(seed, step, rank)
        return torch.rand(1).item()

    assert draw(5, 1) == draw(5, 1)
    assert len({draw(step, rank) for step in range(3) for rank in range(3)}) == 9


def losses_with_dropout(first_step: int, last_step: int, *, rank: int = 0, seed: int = 42) -> list[float]:
    """Return the losses of steps on one batch with dropout, by a model that does not change."""
    trained, recorder = engine(), Recorder()
    add_block_dropout(trained.model, 0.5)
    trained.rank = rank
    training = Training(max_steps=last_step, learning_rate=1e-30, warmup_ratio=0.0, seed=seed)
    progress = Progress(total_steps=last_step, steps_per_epoch=1, step=first_step)
    train(trained, CAUSAL, batches, training, 0.0, progress, [recorder])
    return [result.train_loss for result in recorder.results]


def test_what_dropout_drops_changes_from_step_to_step_and_is_the_same_after_a_resume() -> None:
    whole = losses_with_dropout(0, 4)
    assert len(set(whole)) == 4
    assert losses_with_dropout(2, 4) == whole[2:]


def test_every_rank_and_every_seed_drops_something_else() -> None:
    drawn = [*losses_with_dropout(0, 2), *losses_with_dropout(0, 2, rank=1), *losses_with_dropout(0, 2, seed=43)]
    assert len(set(drawn)) == 6
