"""What the report of a finished run says, for the terminal and for the record of an attempt that finds the run finished.

Test: tests/trainer/driver/test_attempt.py.
"""

from collections.abc import Mapping
from typing import Any

from finetune.api.record import CheckpointRecord, ModelProvenance, OutputRecord, TrainingProgress
from finetune.api.results import REPORT
from trainer.reporting.messages import RecordUpdate
from trainer.reporting.report import metrics_of
from trainer.storage.place import Place

PROVENANCE = frozenset(field.alias or name for name, field in ModelProvenance.model_fields.items())
"""What a record says of the model; a report says more."""


def update_from_report(report: Mapping[str, Any], place: Place) -> RecordUpdate:
    """Return the record's fields that a finished run's report holds, for an attempt that finds it finished in `place`."""
    return RecordUpdate(
        metrics=metrics_of(report),
        checkpoints=[CheckpointRecord.model_validate(checkpoint) for checkpoint in report["checkpoints"]],
        model=ModelProvenance.model_validate({name: value for name, value in report["model"].items() if name in PROVENANCE}),
        output=OutputRecord(uri=place.uri(), report_uri=place.uri(REPORT)),
    )


def progress_of(report: Mapping[str, Any]) -> TrainingProgress:
    """Return how far a finished run's training went."""
    training = report["training"]
    return TrainingProgress(
        step=training["steps"], total_steps=training["steps"], epoch=training["epochs"], tokens_seen=training["tokensSeen"]
    )


def print_effects(report: Mapping[str, Any]) -> None:
    """Print what control runs have shown."""
    from rich.console import Console

    from trainer.reporting.rendereffects import render_effects

    Console().print(render_effects(report))


def print_report(report: Mapping[str, Any]) -> None:
    """Print the table base against tuned and the answers of both models."""
    from rich.console import Console

    from trainer.reporting.render import render_table

    Console().print(render_table(report))
