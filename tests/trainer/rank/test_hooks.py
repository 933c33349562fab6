"""What happens after a step, with an engine that only counts."""

from pathlib import Path

import pytest
import torch

from finetune.api.metrics import MetricName
from finetune.api.sections import CheckpointPolicy, EarlyStopping
from tests.builders import train_config
from trainer.engine.base import EngineState
from trainer.evaluation.figures import Perplexity
from trainer.rank.hooks import EARLY_STOP, INTERRUPTED, Ledger, LogFigures, SaveCheckpoints, StopOnRequest, Validate, catch_up
from trainer.storage.checkpoint import CheckpointStore
from trainer.training.loop import Progress, StepResult

RESULT = StepResult(train_loss=1.5, gradient_norm=0.3, learning_rate=1e-3, loss_tokens=40)


class OneRank:
    """An engine of one rank with a model that does nothing."""

    rank, world_size, model = 0, 1, torch.nn.Identity()

    def sums_over_ranks(self, values):
        return list(values)

    def broadcast(self, value):
        return value

    def state(self) -> EngineState:
        return EngineState({"w": torch.ones(1)}, {"exp_avg": {"w": torch.ones(1)}})


class Listener:
    """Takes fields and figures; answers whether to stop."""

    def __init__(self, stop: bool = False) -> None:
        self.fields, self.logged, self.stop = [], [], stop

    def send(self, **fields) -> None:
        self.fields.append(fields)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        return self.stop

    def log(self, step, figures) -> None:
        self.logged.append((step, dict(figures)))


def progress_at(step: int, total: int = 100) -> Progress:
    return Progress(total_steps=total, steps_per_epoch=10, step=step, tokens_seen=step * 50)


def validating(ledger: Ledger, listener: Listener, early_stopping: EarlyStopping | None = None, every: int = 1) -> Validate:
    """Return the hook that validates, with nothing to validate with."""
    return Validate(
        OneRank(),
        [object()],
        every,
        8,
        ledger,
        MetricName.PERPLEXITY,
        early_stopping,
        listener,
        listener,
        StopOnRequest(OneRank(), listener),
    )


def validate(perplexities: list[float], monkeypatch, early_stopping: EarlyStopping | None, every: int = 1):
    """Run validations that find these perplexities; return the ledger and the step at which training was stopped."""
    import math

    found = iter(perplexities)
    monkeypatch.setattr("trainer.rank.hooks.measure_perplexity", lambda *_: Perplexity(math.log(next(found)), 1, 1))
    ledger, listener = Ledger(), Listener()
    hook = validating(ledger, listener, early_stopping, every)
    for step in range(1, len(perplexities) * every + 1):
        progress = progress_at(step)
        hook.after_step(progress, RESULT)
        if progress.stop_reason:
            return ledger, listener, step
    return ledger, listener, None


def test_validation_keeps_the_best_and_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, listener, stopped = validate([9.0, 5.0, 7.0], monkeypatch, None)
    assert ledger.metrics.best is not None
    assert (ledger.metrics.best.step, ledger.metrics.best.value) == (2, pytest.approx(5.0))
    assert ledger.metrics.latest["perplexity"] == pytest.approx(7.0)
    assert listener.fields[-1]["metrics"] == ledger.metrics
    assert stopped is None


def test_validation_comes_every_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    _, listener, _ = validate([9.0, 8.0], monkeypatch, None, every=5)
    assert [step for step, _ in listener.logged] == [5, 10]


@pytest.mark.parametrize(
    ("perplexities", "patience", "min_delta", "stopped_at"),
    [
        pytest.param([9, 8, 7, 6], 2, 0.0, None, id="improving"),
        pytest.param([9, 8, 8.5, 8.2, 7], 2, 0.0, 4, id="two in a row without improvement"),
        pytest.param([9, 8, 8.5, 7, 7.5, 6], 2, 0.0, None, id="improvement resets the count"),
        pytest.param([9, 8.9, 8.8, 8.7], 2, 0.5, 3, id="an improvement below minDelta is none"),
    ],
)
def test_training_stops_early_when_patience_runs_out(monkeypatch, perplexities, patience, min_delta, stopped_at) -> None:
    rule = EarlyStopping(patience=patience, min_delta=min_delta)
    assert validate([float(value) for value in perplexities], monkeypatch, rule)[2] == stopped_at


def test_the_reason_of_an_early_stop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.rank.hooks.measure_perplexity", lambda *_: Perplexity(1.0, 1, 1))
    ledger, listener, progress = Ledger(), Listener(), progress_at(1)
    hook = validating(ledger, listener, EarlyStopping(patience=1))
    hook.after_step(progress, RESULT)
    hook.after_step(progress, RESULT)
    assert progress.stop_reason == EARLY_STOP


@pytest.mark.parametrize(("wish", "reason"), [(True, INTERRUPTED), (False, None)])
def test_a_wish_to_stop_ends_training_after_the_step(wish: bool, reason: str | None) -> None:
    progress = progress_at(4)
    StopOnRequest(OneRank(), Listener(stop=wish)).after_step(progress, RESULT)
    assert progress.stop_reason == reason


def test_a_stop_in_the_middle_of_a_validation_ends_it_and_the_next_start_makes_up_for_it(tmp_path: Path, monkeypatch) -> None:
    ledger, listener, progress = Ledger(), Listener(), progress_at(3, total=3)
    batches: list[int] = []

    def measured(engine, objective, rows, batch_size, between, tokens_at_once) -> Perplexity:
        for batch in range(3):
            listener.stop = listener.stop or batch == wish_at
            between()
            batches.append(batch)
        return Perplexity(1.0, 1, 1)

    monkeypatch.setattr("trainer.rank.hooks.measure_perplexity", measured)
    hook = validating(ledger, listener)
    save = saver(tmp_path, ledger, listener, every=50)
    wish_at = 1
    for each in (hook, save):
        each.after_step(progress, RESULT)
    assert (progress.stop_reason, batches, listener.logged) == (INTERRUPTED, [0], [])

    state = CheckpointStore(tmp_path, str(tmp_path), "owner", 10).at_step(3).trainer_state
    assert state["stopReason"] is None
    again, listener.stop, wish_at = Ledger(), False, -1
    again.load_state(state["ledger"])
    assert again.owes_validation
    hooks = [validating(again, listener), saver(tmp_path, again, listener, every=50)]
    written, wish_at = (tmp_path / "checkpoints" / "step-3").stat().st_ino, 0
    catch_up(hooks, again, progress := progress_at(3, total=3))
    assert (progress.stop_reason, again.owes_validation) == (INTERRUPTED, True)
    assert (tmp_path / "checkpoints" / "step-3").stat().st_ino == written, "a checkpoint with nothing new in it is not written again"

    listener.stop, wish_at = False, -1
    catch_up(hooks, again, progress := progress_at(3, total=3))
    assert (progress.stop_reason, again.owes_validation, again.metrics.validated.step) == (None, False, 3)
    [record] = hooks[1]._store.records
    assert record.score.value == pytest.approx(2.718, abs=0.001)


def saver(folder: Path, ledger: Ledger, listener: Listener, every: int) -> SaveCheckpoints:
    config = train_config().model_copy(update={"checkpoint": CheckpointPolicy(every_steps=every, keep=10)})
    store = CheckpointStore(folder, str(folder), "owner", 10)
    return SaveCheckpoints(OneRank(), store, config, ledger, listener, lambda: {"baseline": {}})


def saved_steps(folder: Path) -> list[int]:
    found = (int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))
    return sorted(found)


def test_checkpoints_come_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    listener = Listener()
    hook = saver(tmp_path, Ledger(), listener, every=3)
    for step in range(1, 8):
        hook.after_step(progress_at(step, total=7), RESULT)
    assert saved_steps(tmp_path) == [3, 6, 7]
    assert [record.step for record in listener.fields[-1]["checkpoints"]] == [3, 6, 7]


def test_a_new_best_gets_a_checkpoint_of_its_own_with_its_perplexity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, _, _ = validate([4.0, 3.0], monkeypatch, None)
    listener = Listener()
    saver(tmp_path, ledger, listener, every=50).after_step(progress_at(2), RESULT)
    assert saved_steps(tmp_path) == [2]
    record = listener.fields[-1]["checkpoints"][0]
    assert record.score.value == pytest.approx(3.0)
    assert record.best


def test_an_interrupted_run_leaves_a_checkpoint_from_which_it_goes_on(tmp_path: Path) -> None:
    progress = progress_at(5)
    progress.stop_reason = INTERRUPTED
    saver(tmp_path, Ledger(), Listener(), every=50).after_step(progress, RESULT)
    found, _ = CheckpointStore(tmp_path, str(tmp_path), "owner", 10).newest()
    assert found is not None
    assert (found.trainer_state["step"], found.trainer_state["stopReason"]) == (5, None)


def test_each_step_is_told_once_with_loss_rate_and_progress() -> None:
    listener, lines, progress = Listener(), [], progress_at(2)
    progress.mark(0.0)
    progress.step, progress.tokens_seen = 3, 200
    progress.mark(2.0)
    LogFigures(Ledger(), listener, listener, lines.append).after_step(progress, RESULT)
    assert listener.logged[0][1]["tokensPerSecond"] == pytest.approx(50.0)
    assert listener.fields[0]["progress"].eta_seconds == pytest.approx(97 * 2.0)
    assert "step 3/100  loss 1.5000" in lines[0]


def test_the_best_weights_keep_their_checkpoint_however_small_the_improvement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import math

    found = iter([10.0, 9.995, 9.992, 9.991])
    monkeypatch.setattr("trainer.rank.hooks.measure_perplexity", lambda *_: Perplexity(math.log(next(found)), 1, 1))
    ledger, listener = Ledger(), Listener()
    hook = validating(ledger, listener, EarlyStopping(patience=3, min_delta=0.01))
    config = train_config().model_copy(update={"checkpoint": CheckpointPolicy(every_steps=1, keep=1)})
    store = CheckpointStore(tmp_path, str(tmp_path), "owner", 1)
    saving = SaveCheckpoints(OneRank(), store, config, ledger, listener, dict)
    for step in range(1, 5):
        progress = progress_at(step)
        hook.after_step(progress, RESULT)
        saving.after_step(progress, RESULT)
    assert progress.stop_reason == EARLY_STOP
    assert ledger.metrics.best is not None
    assert ledger.metrics.best.step == 4
    assert [(record.step, record.best) for record in store.records] == [(4, True)]
    assert store.at_step(ledger.metrics.best.step).record.score.value == pytest.approx(9.991)


def test_a_resumed_run_goes_on_with_the_patience_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before, _, _ = validate([9.0, 8.0, 8.5], monkeypatch, EarlyStopping(patience=2))
    after = Ledger()
    after.load_state(before.to_state())
    monkeypatch.setattr("trainer.rank.hooks.measure_perplexity", lambda *_: Perplexity(2.2, 1, 1))
    progress, listener = progress_at(4), Listener()
    validating(after, listener, EarlyStopping(patience=2)).after_step(progress, RESULT)
    assert progress.stop_reason == EARLY_STOP
    assert after.metrics.best == before.metrics.best
