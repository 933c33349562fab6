"""Rate and ETA of a run, and what ends it: the loop on a tiny model, on one rank."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from finetune.api.sections import Training
from tests.trainer.engine.program import ROWS, new_model, rows_of_step
from tests.trainer.fixtures.batches import forward_of, step_batches
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.metrics.likelihood import Perplexity
from trainer.model.dropout import add_block_dropout
from trainer.objectives.causal import CAUSAL, CausalBatch
from trainer.objectives.penalties import NO_PENALTIES
from trainer.training.batches import AtOnce
from trainer.training.figures import StepResult, TrainingDivergedError
from trainer.training.loop import Progress, StepBatches, StopReason, Supervision, seed_step, train


def batches(step: int) -> StepBatches[CausalBatch]:
    """Return the same micro-batches for every step."""
    return step_batches(rows_of_step(0))


class Late(DdpEngine):
    """An engine whose device computes while the host goes on."""

    asynchronous = True


def engine(kind: type[DdpEngine] = DdpEngine) -> DdpEngine:
    return kind(new_model(), EngineSettings(AdamW(0.0), 1.0, 4, 2), torch.device("cpu"))


@dataclass
class Recorder:
    """Keeps what the loop does; a hook that is due every so many steps, which may end training or be waited for by a request to stop."""

    every: int = 1
    stop_after: int | None = None
    asked_at: int | None = None
    results: list[StepResult] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def batches(self, step: int) -> StepBatches[CausalBatch]:
        self.events.append(f"begin {step + 1}")
        return batches(step)

    def note(self, result: StepResult) -> None:
        self.results.append(result)
        self.events.append(f"figures {result.progress.step}")

    def asked(self) -> bool:
        begun = sum(event.startswith("begin") for event in self.events)
        return self.asked_at is not None and begun >= self.asked_at

    def due(self, progress: Progress) -> bool:
        return progress.step % self.every == 0

    def after_step(self, progress: Progress) -> None:
        self.events.append(f"hook {progress.step}")
        if self.stop_after is not None and progress.step >= self.stop_after:
            progress.stop_reason = StopReason.EARLY

    def supervision(self) -> Supervision:
        return Supervision(self.note, self.asked, [self])


def run(progress: Progress, recorder: Recorder, kind: type[DdpEngine] = DdpEngine, learning_rate: float = 0.01) -> DdpEngine:
    training = Training(
        max_steps=progress.total_steps, global_batch_size=ROWS, micro_batch_size=4, learning_rate=learning_rate, warmup_ratio=0.0
    )
    trained = engine(kind)
    train(trained, forward_of(trained), CAUSAL, recorder.batches, training, NO_PENALTIES, progress, recorder.supervision())
    return trained


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
    assert (progress.step, progress.stop_reason) == (2, StopReason.EARLY)


def test_a_loss_that_is_no_number_ends_training_before_it_is_written_anywhere() -> None:
    broken = engine()
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    recorder = Recorder()
    with pytest.raises(TrainingDivergedError, match=r"step 1: loss nan.*training\.learningRate"):
        train(broken, forward_of(broken), CAUSAL, batches, Training(max_steps=2), NO_PENALTIES, Progress(2, 1), recorder.supervision())
    assert recorder.events == []


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        pytest.param(DdpEngine, "begin 1, figures 1, begin 2, figures 2, hook 2, begin 3, figures 3, hook 3", id="host"),
        pytest.param(Late, "begin 1, begin 2, figures 1, figures 2, hook 2, begin 3, figures 3, hook 3", id="device"),
    ],
)
def test_figures_are_read_when_they_are_needed_and_on_a_device_no_sooner(kind: type[DdpEngine], events: str) -> None:
    recorder = Recorder(every=2)
    run(Progress(total_steps=3, steps_per_epoch=1), recorder, kind)
    assert ", ".join(recorder.events) == events


def test_figures_and_weights_do_not_depend_on_when_figures_are_read() -> None:
    at_once, late = Recorder(every=100), Recorder(every=100)
    models = [run(Progress(total_steps=5, steps_per_epoch=1), each, kind).model for each, kind in ((at_once, DdpEngine), (late, Late))]
    figures = [[(r.progress.step, r.progress.tokens_seen, r.train_loss, r.gradient_norm) for r in each.results] for each in (at_once, late)]
    assert figures[0] == figures[1]
    assert [step for step, *_ in figures[0]] == [1, 2, 3, 4, 5]
    assert all(torch.equal(*pair) for pair in zip(*(model.parameters() for model in models), strict=True))


@pytest.mark.parametrize(("kind", "last"), [pytest.param(DdpEngine, 3, id="host"), pytest.param(Late, 4, id="device")])
def test_a_request_to_stop_ends_training_with_all_figures_and_the_hooks(kind: type[DdpEngine], last: int) -> None:
    recorder, progress = Recorder(every=100, asked_at=3), Progress(total_steps=50, steps_per_epoch=1)
    run(progress, recorder, kind)
    assert (progress.step, progress.stop_reason) == (last, StopReason.INTERRUPTED)
    assert [result.progress.step for result in recorder.results] == list(range(1, last + 1))
    assert recorder.events[-1] == f"hook {last}"


def test_a_request_to_stop_in_the_last_step_changes_nothing() -> None:
    recorder, progress = Recorder(every=100, asked_at=3), Progress(total_steps=3, steps_per_epoch=1)
    run(progress, recorder, Late)
    assert (progress.step, progress.stop_reason) == (3, None)


@pytest.mark.parametrize("kind", [DdpEngine, Late], ids=["host", "device"])
@pytest.mark.parametrize("every", [1, 3, 4, 100])
def test_weights_of_a_step_that_diverged_reach_no_hook_and_the_step_is_named(kind: type[DdpEngine], every: int) -> None:
    trained, recorder = engine(kind), Recorder(every=every)

    def batches_and_a_fault(step: int) -> StepBatches[CausalBatch]:
        if step == 2:
            with torch.no_grad():
                next(trained.model.parameters()).fill_(float("inf"))
        return batches(step)

    with pytest.raises(TrainingDivergedError, match=r"^step 3: loss nan"):
        train(
            trained,
            forward_of(trained),
            CAUSAL,
            batches_and_a_fault,
            Training(max_steps=9),
            NO_PENALTIES,
            Progress(9, 1),
            recorder.supervision(),
        )
    assert [event for event in recorder.events if event in ("hook 3", "hook 4", "figures 3")] == []


def test_ranks_talk_to_each_other_once_a_step() -> None:
    sums: list[int] = []

    class Counting(DdpEngine):
        def sum_over_ranks(self, values: Tensor) -> Tensor:
            sums.append(values.numel())
            return super().sum_over_ranks(values)

    run(Progress(total_steps=4, steps_per_epoch=1), Recorder(every=100), Counting)
    assert len(sums) == 4


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
    assert (progress.to_record().tokens_per_second, progress.to_record().eta_seconds) == (pytest.approx(37.5), pytest.approx(16.0))
    assert (progress.step_seconds, progress.step_tokens) == (pytest.approx(4.0), 150)


def test_the_rate_is_that_of_the_last_twenty_steps_or_of_all_until_so_many_follow_a_pause() -> None:
    progress, now, rates = Progress(total_steps=200, steps_per_epoch=5), 0.0, list[float | None]()

    def take(steps: int, tokens: int) -> None:
        nonlocal now
        for _ in range(steps):
            if progress.paused:
                progress.mark(now)
            now += 1.0
            progress.step += 1
            progress.tokens_seen += tokens
            progress.mark(now)
            rates.append(progress.to_record().tokens_per_second)

    take(20, 100)
    take(20, 300)
    assert rates[19:] == pytest.approx([(100 * (20 - n) + 300 * n) / 20 for n in range(21)])
    progress.pause()
    rates.clear()
    take(19, 500)
    assert rates == pytest.approx([(20 * 100 + 20 * 300 + n * 500) / (40 + n) for n in range(1, 20)])
    take(1, 500)
    assert rates[-1] == pytest.approx(500)


def test_a_step_takes_the_time_until_its_figures_are_there_though_the_next_is_launched_before() -> None:
    progress = Progress(total_steps=10, steps_per_epoch=5)
    progress.mark(100.0)
    progress.step, progress.tokens_seen = 2, 100
    progress.mark(103.0, at=(1, 50))
    first = progress.to_record(at=(1, 50))
    progress.mark(104.0, at=(2, 100))
    assert (first.step, first.tokens_seen, first.epoch) == (1, 50, 0.2)
    assert (first.tokens_per_second, first.eta_seconds) == (pytest.approx(50 / 3), pytest.approx(27.0))
    assert progress.to_record().tokens_per_second == pytest.approx(25.0)
    assert (progress.step_seconds, progress.step_tokens) == (pytest.approx(4.0), 100)


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
    measured = engine()
    found = token_rows(measured, forward_of(measured), CAUSAL, rows_of_step(0), AtOnce(batch_size))
    assert found.sums.tokens == tokens
    assert Perplexity().compute(found).value == pytest.approx(math.exp(nll / tokens), rel=1e-6)


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
    train(trained, forward_of(trained), CAUSAL, batches, training, NO_PENALTIES, progress, recorder.supervision())
    return [result.train_loss for result in recorder.results]


def test_what_dropout_drops_changes_from_step_to_step_and_is_the_same_after_a_resume() -> None:
    whole = losses_with_dropout(0, 4)
    assert len(set(whole)) == 4
    assert losses_with_dropout(2, 4) == whole[2:]


def test_every_rank_and_every_seed_drops_something_else() -> None:
    drawn = [*losses_with_dropout(0, 2), *losses_with_dropout(0, 2, rank=1), *losses_with_dropout(0, 2, seed=43)]
    assert len(set(drawn)) == 6
