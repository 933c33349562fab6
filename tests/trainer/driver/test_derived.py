"""Further runs of a job: their configuration, and what of their reports reaches the job's record."""

from pathlib import Path
from typing import Unpack

from finetune.api.record import Metrics, Stage, TrainingProgress
from finetune.api.sections import Export
from tests.builders import train_config
from trainer.driver.derived import PartOfRecord, derived
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
