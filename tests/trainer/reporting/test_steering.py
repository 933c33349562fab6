"""What a report says of early stopping and of generalization, and what a terminal shows of it."""

from finetune.api.evaluation import EarlyStopping
from finetune.api.metrics import MetricName, Score
from finetune.api.record import Generalization
from trainer.reporting.steering import early_stopping_entry, generalization_entry, steering_remarks

RULE, BEST = EarlyStopping(patience=3, min_delta=0.01), Score.of(MetricName.ACCURACY, 0.875, 20)
CURVE = [Generalization(step=step, train_loss=1 / step, validation_loss=1.0, gap=1 - 1 / step) for step in (2, 4)]


def test_a_job_without_early_stopping_has_no_entry() -> None:
    assert early_stopping_entry(None, MetricName.ACCURACY, BEST, None) is None


def test_an_early_stop_names_its_step_and_the_best_one() -> None:
    entry = early_stopping_entry(RULE, MetricName.ACCURACY, BEST, 50)

    assert entry == {"stoppedAtStep": 50, "bestStep": 20, "metric": "accuracy", "best": 0.875, "patience": 3, "minDelta": 0.01}
    assert steering_remarks({"earlyStopping": entry}) == ["Stopped early at step 50: no improvement on accuracy 0.875 (step 20)"]


def test_training_that_ended_by_itself_was_not_stopped() -> None:
    entry = early_stopping_entry(RULE, MetricName.ACCURACY, BEST, None)

    assert entry is not None
    assert entry["stoppedAtStep"] is None
    assert steering_remarks({"earlyStopping": entry}) == []


def test_a_metric_that_was_never_defined_has_no_best() -> None:
    entry = early_stopping_entry(RULE, MetricName.ACCURACY, None, None)

    assert entry is not None
    assert (entry["best"], entry["bestStep"]) == (None, None)


def test_the_curve_and_the_warning_are_shown() -> None:
    entry = generalization_entry(CURVE, 80, ["both losses rise", "by heart"])

    assert entry is not None
    assert entry["rows"] == 80
    assert entry["curve"][1] == {"step": 4, "trainLoss": 0.25, "validationLoss": 1.0, "gap": 0.75}
    assert steering_remarks({"generalization": entry}) == [
        "Loss at step 4: 0.2500 on training rows, 1.0000 on validation rows, gap +0.7500", "Warning: by heart",
    ]  # fmt: skip


def test_without_validation_there_is_neither() -> None:
    assert generalization_entry([], 0, []) is None
    assert steering_remarks({}) == []
