"""What happens after a step, with engines that only count, and that ranks in threads ask for the same things in the same order."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.api.evaluation import EarlyStopping
from finetune.api.metrics import MetricName, Score
from finetune.api.sections import CheckpointPolicy
from tests.builders import train_config
from tests.trainer.fixtures.ranks import Ranks, ThreadRank, on_all_ranks
from trainer.engine.state import EngineState, Keep, StatePart, cloned
from trainer.evaluation.generalization import REMEDIES
from trainer.evaluation.validation import ValidationResult
from trainer.rank.adaptationstate import GENERAL
from trainer.rank.hooks.checkpoints import SaveCheckpoints, Timers
from trainer.rank.hooks.figures import LogFigures
from trainer.rank.hooks.order import Hooks
from trainer.rank.hooks.stop import StopOnRequest
from trainer.rank.hooks.validation import Validate
from trainer.rank.ledger import Ledger
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.localfolder import LocalFolder
from trainer.training.figures import StepResult
from trainer.training.loop import Progress, StopReason

NAN, INF = float("nan"), float("inf")


class OneRank:
    """An engine of one rank that only has a state."""

    rank, world_size, shards_state, device = 0, 1, False, torch.device("cpu")

    def sums_over_ranks(self, values):
        return list(values)

    def broadcast(self, value):
        return value

    def gather(self, value):
        return [value]

    def state_elements(self) -> int:
        return 2

    def state(self, keep: Keep = cloned) -> EngineState:
        return EngineState({"w": keep(torch.ones(1))}, {"exp_avg": {"w": keep(torch.ones(1))}})


class Listener:
    """Takes fields and figures; answers whether to stop."""

    def __init__(self, stop: bool = False) -> None:
        self.fields, self.logged, self.stop, self.flushed = [], [], stop, 0

    def send(self, **fields) -> None:
        self.fields.append(fields)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        return self.stop

    def log(self, step, figures) -> None:
        self.logged.append((step, dict(figures)))

    def flush(self) -> None:
        self.flushed = len(self.logged)


def progress_at(step: int, total: int = 100) -> Progress:
    return Progress(total_steps=total, steps_per_epoch=10, step=step, tokens_seen=step * 50)


def validating(
    ledger: Ledger,
    listener: Listener,
    evaluate: Callable[[], ValidationResult],
    early_stopping: EarlyStopping | None = None,
    every: int = 1,
) -> Validate:
    return Validate(evaluate, every, early_stopping, ledger, listener, listener, remedies=REMEDIES)


def result(figures: dict[MetricName, float]) -> ValidationResult:
    return ValidationResult(figures, MetricName.PERPLEXITY, MetricName.PERPLEXITY)


def finding(*perplexities: float) -> Callable[[], ValidationResult]:
    """Return an evaluation that finds one perplexity after the other, and the last one from then on."""
    left = list(perplexities)
    return lambda: result({MetricName.PERPLEXITY: left.pop(0) if len(left) > 1 else left[0]})


def validate(perplexities: list[float], early_stopping: EarlyStopping | None = None, every: int = 1):
    """Run validations that find these perplexities; return the ledger and the step at which training was stopped."""
    ledger, listener = Ledger(), Listener()
    hook = validating(ledger, listener, finding(*perplexities), early_stopping, every)
    for step in range(1, len(perplexities) * every + 1):
        progress = progress_at(step)
        hook.after_step(progress)
        if progress.stop_reason:
            return ledger, listener, step
    return ledger, listener, None


def test_validation_keeps_the_best_and_reports_it() -> None:
    ledger, listener, stopped = validate([9.0, 5.0, 7.0])
    assert ledger.metrics.best is not None
    assert (ledger.metrics.best.step, ledger.metrics.best.value) == (2, pytest.approx(5.0))
    assert ledger.metrics.latest["perplexity"] == pytest.approx(7.0)
    assert listener.fields[-1]["metrics"] == ledger.metrics
    assert stopped is None


def test_validation_comes_every_so_many_steps() -> None:
    _, listener, _ = validate([9.0, 8.0], every=5)
    assert [step for step, _ in listener.logged] == [5, 10]


@pytest.mark.parametrize(
    ("perplexities", "patience", "min_delta", "stopped_at"),
    [
        pytest.param([9, 8, 7, 6], 2, 0.0, None, id="improving"),
        pytest.param([9, 8, 8.5, 8.2, 7], 2, 0.0, 4, id="two in a row without improvement"),
        pytest.param([9, 8, 8.5, 7, 7.5, 6], 2, 0.0, None, id="improvement resets the count"),
        pytest.param([9, 8.9, 8.8, 8.7], 2, 0.5, 3, id="an improvement below minDelta is none"),
        pytest.param([NAN, 9, 8, 7, 6], 3, 0.0, None, id="nan at first, then improving"),
        pytest.param([NAN, NAN, 9, 9, 9], 2, 0.0, 5, id="patience begins at the first number"),
        pytest.param([INF, 9, NAN, INF], 2, 0.5, 4, id="neither nan nor infinity is an improvement"),
    ],
)
def test_training_stops_early_when_patience_runs_out(perplexities, patience, min_delta, stopped_at) -> None:
    rule = EarlyStopping(patience=patience, min_delta=min_delta)
    assert validate([float(value) for value in perplexities], rule)[2] == stopped_at


def test_patience_that_runs_out_at_the_last_step_has_stopped_nothing() -> None:
    reasons = []
    for total in (3, 4):
        hook, progress = validating(Ledger(), Listener(), finding(9.0, 9.5, 9.6), EarlyStopping(patience=2)), progress_at(0, total)
        for step in (1, 2, 3):
            progress.step = step
            hook.after_step(progress)
        reasons.append(progress.stop_reason)
    assert reasons == [None, StopReason.EARLY]


def test_a_watched_metric_that_is_undefined_at_first_starts_patience_once_it_has_a_value() -> None:
    ledger, found = Ledger(), [{MetricName.PERPLEXITY: 9.0}] * 3 + [{MetricName.PERPLEXITY: 9.0, MetricName.BITS_PER_BYTE: 2.0}] * 3
    rule, stopped = EarlyStopping(patience=2, metric=MetricName.BITS_PER_BYTE), []
    for step, figures in enumerate(found, start=1):
        progress = progress_at(step)
        validating(
            ledger, Listener(), lambda figures=figures: ValidationResult(figures, MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE), rule
        ).validate(progress)
        stopped.append(progress.stop_reason)
    assert stopped == [None] * 5 + [StopReason.EARLY]


def test_the_reason_of_an_early_stop_is_named() -> None:
    ledger, listener, progress = Ledger(), Listener(), progress_at(1)
    hook = validating(ledger, listener, finding(2.0), EarlyStopping(patience=1))
    hook.after_step(progress)
    hook.after_step(progress)
    assert progress.stop_reason == StopReason.EARLY


LOSSES = [(2.0, 2.0), (1.0, 1.5), (0.5, 1.6), (0.2, 1.8), (0.1, 2.5)]


def losses_of(step: int) -> ValidationResult:
    return ValidationResult({MetricName.PERPLEXITY: 9.0}, MetricName.PERPLEXITY, MetricName.PERPLEXITY, LOSSES[step - 1])


def test_the_gap_between_training_and_validation_rows_is_recorded_and_warned_of_once() -> None:
    ledger, listener, warned = Ledger(), Listener(), []
    for step in range(1, 6):
        hook = Validate(lambda step=step: losses_of(step), 1, None, ledger, listener, listener, warned.append, remedies=REMEDIES)
        hook.validate(progress_at(step))
        if step < 4:
            assert warned == []

    assert [(point.step, point.train_loss, point.validation_loss) for point in ledger.generalization] == [
        (step, *pair) for step, pair in enumerate(LOSSES, start=1)
    ]
    assert listener.fields[-1]["metrics"].generalization.gap == pytest.approx(2.4)
    assert (5, {"generalization/trainLoss": 0.1, "generalization/validationLoss": 2.5, "generalization/gap": 2.4}) in listener.logged
    # Each hook is that of an attempt: the fifth begins with the warning of the fourth, whose record is gone.
    assert len(warned) == 2
    assert warned[0] == warned[1]
    assert "overfitting since step 2: by step 4 " in warned[0]


def test_each_kind_of_warning_of_the_losses_is_told_once_by_a_hook() -> None:
    losses = [(2.0, 2.1), (2.5, 2.8), (2.6, 2.9), (2.6, 3.0), (2.6, 3.0), (1.5, 1.7), (0.4, 2.0), (0.2, 2.6), (0.1, 3.2), (0.05, 3.8)]
    ledger, listener, warned = Ledger(), Listener(), []
    given = iter(ValidationResult({}, MetricName.PERPLEXITY, MetricName.PERPLEXITY, pair) for pair in losses)
    hook = Validate(lambda: next(given), 1, None, ledger, listener, listener, warned.append, remedies=REMEDIES)
    for step in range(1, len(losses) + 1):
        hook.validate(progress_at(step))
    assert [text.partition(":")[0] for text in warned] == ["both losses rise since step 1", "overfitting since step 6"]
    Validate(lambda: next(given), 1, None, ledger, listener, listener, (again := []).append, remedies=REMEDIES)
    assert again == warned, "those of the attempt before ended with it"


def test_the_curve_and_the_watched_best_survive_a_resume() -> None:
    ledger, listener = Ledger(), Listener()
    for step in (1, 2):
        Validate(lambda step=step: losses_of(step), 1, None, ledger, listener, listener, remedies=REMEDIES).validate(progress_at(step))

    again = Ledger.from_state(json.loads(json.dumps(ledger.to_state())))

    assert again.generalization == ledger.generalization
    assert again.metrics.generalization == ledger.metrics.generalization
    assert again.watched == ledger.watched == Score.of(MetricName.PERPLEXITY, 9.0, 1)
    earlier = {name: value for name, value in ledger.to_state().items() if name not in ("watched", "generalization", "owesValidation")}
    assert (Ledger.from_state(earlier).generalization, Ledger.from_state(earlier).watched) == ([], None)


def test_a_step_beyond_the_budget_for_general_texts_is_neither_the_best_nor_what_early_stopping_calls_it() -> None:
    ledger, listener = Ledger(), Listener()
    ledger.adaptation.budget_percent, ledger.adaptation.reference = 10.0, 20.0
    for step, general in ((1, 21.0), (2, 40.0)):
        ledger.adaptation.note(GENERAL, step, general)
    hook = validating(ledger, listener, finding(9.0, 5.0))
    for step in (1, 2):
        hook.validate(progress_at(step))
    assert (ledger.metrics.best, ledger.watched) == (Score.of(MetricName.PERPLEXITY, 9.0, 1),) * 2


@pytest.mark.parametrize(("requested", "reason"), [(True, StopReason.INTERRUPTED), (False, None)])
def test_a_request_to_stop_ends_training_after_the_step(requested: bool, reason: str | None) -> None:
    progress = progress_at(4)
    StopOnRequest(OneRank(), Listener(stop=requested)).after_step(progress)
    assert progress.stop_reason == reason


def test_the_driver_is_asked_whether_to_stop_without_a_word_to_the_other_ranks() -> None:
    for stop in (True, False):
        listener = Listener(stop)
        assert StopOnRequest(ThreadRank(0, Ranks(2)), listener).asked() is stop
        assert listener.fields == [{}]


@pytest.mark.parametrize(
    ("step", "validated", "saved"),
    [
        pytest.param(7, False, False, id="neither"), pytest.param(8, True, False, id="validation"),
        pytest.param(10, False, True, id="checkpoint"), pytest.param(100, True, True, id="last step"),
    ],
)  # fmt: skip
def test_a_hook_is_due_at_its_interval_and_at_the_last_step(tmp_path: Path, step: int, validated: bool, saved: bool) -> None:
    ledger, listener = Ledger(), Listener()
    assert validating(ledger, listener, finding(1.0), every=8).due(progress_at(step)) is validated
    assert saver(tmp_path, ledger, listener, every=10).due(progress_at(step)) is saved
    assert not StopOnRequest(OneRank(), listener).due(progress_at(step))


def test_a_stop_in_the_middle_of_a_validation_ends_it_and_the_next_start_makes_up_for_it(tmp_path: Path) -> None:
    ledger, listener, progress = Ledger(), Listener(), progress_at(3, total=3)
    batches: list[int] = []

    def evaluate() -> ValidationResult:
        for batch in range(3):
            listener.stop = listener.stop or batch == stop_at
            stop.between_batches()
            batches.append(batch)
        return result({MetricName.PERPLEXITY: 2.718})

    stop = StopOnRequest(OneRank(), listener)
    hook = validating(ledger, listener, evaluate)
    save = saver(tmp_path, ledger, listener, every=50)
    stop_at = 1
    for each in (hook, save):
        each.after_step(progress)
    assert (progress.stop_reason, batches, listener.logged) == (StopReason.INTERRUPTED, [0], [])

    state = CheckpointStore(LocalFolder(tmp_path), "owner", 10).at_step(3).trainer_state
    again, listener.stop, stop_at = Ledger.from_state(state["ledger"]), False, -1
    assert again.owes_validation
    hooks = Hooks(None, validating(again, listener, evaluate), stop, saver(tmp_path, again, listener, every=50))
    written, stop_at = (tmp_path / "checkpoints" / "step-3").stat().st_ino, 0
    hooks.make_up(again, progress := progress_at(3, total=3))
    assert (progress.stop_reason, again.owes_validation) == (StopReason.INTERRUPTED, True)
    assert (tmp_path / "checkpoints" / "step-3").stat().st_ino == written, "a checkpoint with nothing new in it is not written again"

    listener.stop, stop_at = False, -1
    hooks.make_up(again, progress := progress_at(3, total=3))
    assert (progress.stop_reason, again.owes_validation, again.metrics.validated.step) == (None, False, 3)
    assert [record.score.value for record in listener.fields[-1]["checkpoints"]] == [2.718]


class StopsAt(Listener):
    """Asks for a stop from the n-th time on that it is asked, counted from 0."""

    def __init__(self, time: int) -> None:
        super().__init__()
        self.left = time

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        self.left -= 1
        return self.left < 0


def hooks_of(engine: ThreadRank, ledger: Ledger, stop_at: int, folder: Path, measured: list[int]) -> Hooks:
    """Return the hooks of one rank, of which only the first hears of a stop; a validation adds its batches to `measured`."""
    sender = StopsAt(stop_at) if engine.rank == 0 else Listener()
    stop = StopOnRequest(engine, sender)

    def evaluate() -> ValidationResult:
        for batch in range(3):
            stop.between_batches()
            engine.sums_over_ranks([1.0, 2.0])
            measured.append(batch)
        return result({MetricName.PERPLEXITY: 2.718})

    figures = LogFigures(ledger, sender, sender, lambda _: None) if engine.rank == 0 else None
    return Hooks(figures, validating(ledger, sender, evaluate), stop, saver(folder, ledger, sender, every=1, engine=engine))


@pytest.mark.parametrize(
    ("stop_at", "batches", "owed", "reason"),
    [
        pytest.param(0, 0, True, StopReason.INTERRUPTED, id="before the first batch"),
        pytest.param(1, 1, True, StopReason.INTERRUPTED, id="in the middle"),
        pytest.param(3, 3, False, StopReason.INTERRUPTED, id="after the last batch"),
        pytest.param(9, 3, False, None, id="never"),
    ],
)
def test_all_ranks_do_the_same_whenever_the_first_of_them_hears_of_a_stop(
    tmp_path: Path, stop_at: int, batches: int, owed: bool, reason: StopReason | None
) -> None:
    def after_a_step(engine: ThreadRank) -> tuple[int, bool, StopReason | None]:
        ledger, progress, measured = Ledger(), progress_at(3), []
        hooks = hooks_of(engine, ledger, stop_at, tmp_path, measured)
        for hook in hooks.supervision().hooks:
            hook.after_step(progress)
        hooks.checkpoints.look(None)
        return len(measured), ledger.owes_validation, progress.stop_reason

    assert on_all_ranks(3, after_a_step) == [(batches, owed, reason)] * 3
    [saved] = saved_steps(tmp_path)
    assert CheckpointStore(LocalFolder(tmp_path), "owner", 10).at_step(saved).trainer_state["ledger"]["owesValidation"] is owed


@pytest.mark.parametrize(("stop_at", "batches", "saved"), [pytest.param(1, 1, [], id="stopped"), pytest.param(9, 3, [3], id="done")])
def test_all_ranks_make_up_an_interrupted_validation_together(tmp_path: Path, stop_at: int, batches: int, saved: list[int]) -> None:
    def at_the_next_start(engine: ThreadRank) -> int:
        ledger, measured = Ledger(), []
        ledger.owes_validation = True
        hooks = hooks_of(engine, ledger, stop_at, tmp_path, measured)
        hooks.make_up(ledger, progress_at(3))
        hooks.checkpoints.look(None)
        return len(measured)

    assert on_all_ranks(3, at_the_next_start) == [batches] * 3
    assert saved_steps(tmp_path) == saved


def kept(ledger: Ledger) -> Callable[[Progress], dict[str, object]]:
    return lambda progress: {"step": progress.step, "ledger": ledger.to_state()}


def saver(folder: Path, ledger: Ledger, listener: Listener, every: int, engine: OneRank | ThreadRank | None = None) -> SaveCheckpoints:
    config = train_config().model_copy(update={"checkpoint": CheckpointPolicy(every_steps=every, keep=10)})
    store = CheckpointStore(LocalFolder(folder), "owner", 10)
    return SaveCheckpoints(engine or OneRank(), store, config, ledger, listener, kept(ledger), listener.flush)


def saved_steps(folder: Path) -> list[int]:
    found = (int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))
    return sorted(found)


def test_checkpoints_come_after_what_may_end_training_and_only_rank_0_notes_figures(tmp_path: Path) -> None:
    ledger, listener = Ledger(), Listener()
    figures, validation = LogFigures(ledger, listener, listener, print), validating(ledger, listener, finding(3.0))
    stop, checkpoints = StopOnRequest(OneRank(), listener), saver(tmp_path, ledger, listener, every=1)
    first, other = Hooks(figures, validation, stop, checkpoints).supervision(), Hooks(None, None, stop, checkpoints).supervision()
    assert first.hooks == [validation, stop, checkpoints]
    assert other.hooks == [stop, checkpoints]
    result = StepResult(progress_at(1).to_record(), 1.0, 1.0, 1e-3, 40)
    other.note(result)
    assert listener.logged == []
    first.note(result)
    assert [step for step, _ in listener.logged] == [1]


def test_checkpoints_come_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    listener = Listener()
    hook = saver(tmp_path, Ledger(), listener, every=3)
    for step in range(1, 8):
        hook.after_step(progress_at(step, total=7))
    assert saved_steps(tmp_path) == [3, 6, 7]
    assert [record.step for record in listener.fields[-1]["checkpoints"]] == [3, 6, 7]


def test_the_figures_of_a_checkpoint_s_steps_are_stored_before_it_is(tmp_path: Path) -> None:
    listener = Listener()

    class Store(CheckpointStore):
        def save(self, *args: object, **facts: object) -> None:
            assert listener.flushed == 1

    listener.log(1, {"trainLoss": 1.0})
    store = Store(LocalFolder(tmp_path), "owner", 10)
    with SaveCheckpoints(OneRank(), store, train_config(), Ledger(), listener, kept(Ledger()), listener.flush) as saving:
        saving.save(progress_at(1))
    assert listener.flushed == 1


def test_a_new_best_gets_a_checkpoint_of_its_own_with_its_perplexity(tmp_path: Path) -> None:
    ledger, _, _ = validate([4.0, 3.0])
    listener = Listener()
    with saver(tmp_path, ledger, listener, every=50) as saving:
        saving.after_step(progress_at(2))
    assert saved_steps(tmp_path) == [2]
    record = listener.fields[-1]["checkpoints"][0]
    assert record.score.value == pytest.approx(3.0)
    assert record.best


def test_an_interrupted_run_leaves_a_checkpoint(tmp_path: Path) -> None:
    progress = progress_at(5)
    progress.stop_reason = StopReason.INTERRUPTED
    saver(tmp_path, Ledger(), Listener(), every=50).after_step(progress)
    assert saved_steps(tmp_path) == [5]


def test_each_step_is_reported_once_with_loss_rate_and_progress() -> None:
    listener, lines, progress = Listener(), [], progress_at(2)
    progress.mark(0.0)
    progress.step, progress.tokens_seen = 3, 200
    progress.mark(2.0)
    LogFigures(Ledger(), listener, listener, lines.append).note(StepResult(progress.to_record(), 1.5, 0.3, 1e-3, 40))
    assert listener.logged[0][1]["tokensPerSecond"] == pytest.approx(50.0)
    assert listener.fields[0]["progress"].eta_seconds == pytest.approx(97 * 2.0)
    assert "step 3/100  loss 1.5000" in lines[0]


def test_the_best_weights_keep_their_checkpoint_however_small_the_improvement(tmp_path: Path) -> None:
    ledger, listener = Ledger(), Listener()
    hook = validating(ledger, listener, finding(10.0, 9.995, 9.992, 9.991), EarlyStopping(patience=3, min_delta=0.01))
    config = train_config().model_copy(update={"checkpoint": CheckpointPolicy(every_steps=1, keep=1)})
    store = CheckpointStore(LocalFolder(tmp_path), "owner", 1)
    saving = SaveCheckpoints(OneRank(), store, config, ledger, listener, kept(ledger), listener.flush)
    for step in range(1, 5):
        progress = progress_at(step)
        hook.after_step(progress)
        saving.after_step(progress)
    assert progress.stop_reason == StopReason.EARLY
    assert ledger.metrics.best is not None
    assert ledger.metrics.best.step == 4
    assert [(record.step, record.best) for record in store.records] == [(4, True)]
    assert store.at_step(ledger.metrics.best.step).record.score.value == pytest.approx(9.991)


def test_a_resumed_run_goes_on_with_the_patience_that_is_left() -> None:
    before, _, _ = validate([9.0, 8.0, 8.5], EarlyStopping(patience=2))
    after = Ledger.from_state(before.to_state())
    progress, listener = progress_at(4), Listener()
    validating(after, listener, finding(8.7), EarlyStopping(patience=2)).after_step(progress)
    assert progress.stop_reason == StopReason.EARLY
    assert after.metrics.best == before.metrics.best


@pytest.mark.parametrize(
    ("method", "files"),
    [
        pytest.param({"full": {}}, ["exp_avg-1-of-2", "exp_avg-2-of-2", "parameters-1-of-2", "parameters-2-of-2"], id="full"),
        pytest.param({"lora": {"rank": 4}}, ["exp_avg", "parameters"], id="adapter"),
    ],
)
def test_ranks_that_share_a_state_write_their_parts_of_a_whole_model_and_rank_0_an_adapter(
    tmp_path: Path, method: dict[str, object], files: list[str]
) -> None:
    config, ledger = train_config(method=method), Ledger()

    def save(engine: Any) -> None:
        begin = 2 * engine.rank
        groups = {group: {"w": torch.arange(begin, begin + 2.0)} for group in ("parameters", "exp_avg")}
        engine.shards_state = True
        engine.part = lambda: StatePart({"w": (2, 2)}, {"w": (begin, begin + 2)}, groups)
        store = CheckpointStore(LocalFolder(tmp_path), "owner", 10)
        with SaveCheckpoints(engine, store, config, ledger, Listener(), kept(ledger), lambda: None) as saving:
            saving.save(progress_at(5))

    on_all_ranks(2, save)
    folder = tmp_path / "checkpoints" / "step-5"
    assert sorted(path.stem for path in folder.glob("*.safetensors")) == files
    weights = CheckpointStore(LocalFolder(tmp_path), "owner", 10).at_step(5).tensors().whole("parameters")["w"]
    assert torch.equal(weights, torch.tensor([[0.0, 1.0], [2.0, 3.0]]) if "full" in method else torch.ones(1))


def test_the_time_that_training_waits_for_a_checkpoint_and_that_of_its_writing_are_taken(tmp_path: Path) -> None:
    seen: list[str] = []

    def timed(what: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
        @contextlib.contextmanager
        def times() -> Iterator[None]:
            seen.append(f"{what} begins")
            yield
            seen.append(f"{what} ends")

        return times

    config = train_config(checkpoint={"everySteps": 2, "keep": 2})
    store, timers = CheckpointStore(LocalFolder(tmp_path), "owner", 2), Timers(timed("waiting"), timed("writing"))
    hook = SaveCheckpoints(OneRank(), store, config, Ledger(), Listener(), kept(Ledger()), lambda: seen.append("flushed"), timers)
    for step in (1, 2, 3):
        hook.after_step(progress_at(step))
    hook.look(None)
    assert seen[0] == "waiting begins"
    assert [each for each in seen if "waiting" not in each] == ["writing begins", "flushed", "writing ends"]
    assert seen.count("waiting ends") == 1
