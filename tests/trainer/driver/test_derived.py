"""Further runs of a job: their configuration, and what of their reports reaches the job's record."""

from pathlib import Path
from typing import Unpack

from finetune.api.metrics import METRICS, MetricName, Score
from finetune.api.record import AdaptationFigures, Metrics, Stage, TrainingProgress
from finetune.api.sections import Export
from tests.builders import train_config
from trainer.driver.derived import PartOfRecord, Planned, derived
from trainer.driver.publisher import Source
from trainer.reporting.messages import RecordUpdate


class Kept:
    """Keeps what it is told, as a publisher does."""

    def __init__(self) -> None:
        self.state = RecordUpdate()
        self.source: Source | None = None

    def update(self, **changes: Unpack[RecordUpdate]) -> None:
        self.state.update(changes)

    def poll(self, source: Source | None) -> None:
        self.source = source

    def fetch(self, source: Source | None = None) -> None:
        if (source := source or self.source) is not None:
            self.update(**source())


SCORE = Score(metric=MetricName.PERPLEXITY, value=9.0, direction=METRICS[MetricName.PERPLEXITY].direction, step=20)
FIGURES = AdaptationFigures(general_perplexity=20.0)


def progress(step: int) -> TrainingProgress:
    return TrainingProgress(step=step, total_steps=9, epoch=1, tokens_seen=7)


def test_a_further_run_is_a_run_of_its_own_below_the_output_of_the_job() -> None:
    main = train_config(Path("/nowhere"), output={"directory": "/out", "uri": "pvc://claim/out"}, evaluation__ablations=["data"])
    config = derived(main, "stage", "stages/one", export=[Export.MERGED], training=main.training.changed(learning_rate=0.5))
    assert (config.output.directory, config.output.uri, config.exports) == (
        "/out/stages/one",
        "pvc://claim/out/stages/one",
        [Export.MERGED],
    )
    assert config.training.learning_rate == 0.5
    assert config.derived is not None
    assert (config.derived.name, config.derived.main) == ("stage", "/out")
    assert config.evaluation.ablations is None, "a further run has none of its own"
    assert config.checkpoint == main.checkpoint


def test_a_run_for_its_figures_alone_writes_no_model_and_keeps_one_checkpoint() -> None:
    config = derived(train_config(checkpoint={"keep": 5}), "control", "control", figures_only=True)
    assert (config.exports, config.checkpoint.keep) == ([], 1)


def test_stage_and_progress_of_a_further_run_reach_the_record_under_its_name_and_no_figure_does() -> None:
    kept = Kept()
    kept.update(metrics=Metrics(final={}), warnings=["of the job"], progress=progress(9), stage=Stage.EXPORTING)
    own = dict(kept.state)
    part = PartOfRecord(kept, "ablation dropout")
    assert kept.state["stage"] is Stage.READING
    assert (kept.state["progress"].run, kept.state["progress"].step) == ("ablation dropout", 0), "the job's own steps are not shown for it"

    part.update(stage=Stage.TRAINING, progress=progress(4), metrics=Metrics(), warnings=["of the control run"], resumed_from_step=3)
    part.poll(lambda: RecordUpdate(progress=progress(5), model=None))
    assert kept.source is not None
    assert kept.source() == {"progress": progress(5).model_copy(update={"run": "ablation dropout"})}
    part.poll(lambda: RecordUpdate(pulse=3))
    assert kept.source() == {"pulse": 3}, "a control run that works is no stall"
    part.fetch(lambda: RecordUpdate(progress=progress(6), checkpoints=[]))
    assert kept.state["progress"] == progress(6).model_copy(update={"run": "ablation dropout"})
    assert kept.state["stage"] is Stage.TRAINING
    assert {name: kept.state.get(name) for name in ("metrics", "warnings")} == {name: own[name] for name in ("metrics", "warnings")}
    assert not {"resumed_from_step", "checkpoints", "model"} & set(kept.state)


def test_what_the_job_begins_with_tells_its_warnings_and_validations() -> None:
    kept, planned = Kept(), Planned("domain corpus", lambda main, _: main, {"data.train": "domainAdaptation.corpus.sources"})
    part = PartOfRecord(kept, planned.name, planned.warning)
    found = Metrics(validated=SCORE, best=SCORE, score=SCORE, adaptation=FIGURES)
    part.update(warnings=["data.train: two rows were cut"], metrics=found)
    assert kept.state["warnings"] == ["domain corpus: domainAdaptation.corpus.sources: two rows were cut"]
    assert kept.state["metrics"] == Metrics(validated=SCORE, adaptation=FIGURES), "the job is not judged by them"


def test_a_validation_of_the_attempt_before_is_not_told_again() -> None:
    kept, planned = Kept(), Planned("domain corpus", lambda main, _: main)
    part = PartOfRecord(kept, planned.name, planned.warning)
    part.update(resumed_from_step=20)
    part.update(metrics=Metrics(validated=SCORE))
    assert kept.state["metrics"].validated is None
    part.update(metrics=Metrics(validated=SCORE.model_copy(update={"step": 30})))
    assert kept.state["metrics"].validated is not None
