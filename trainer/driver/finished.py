"""What the report of a finished run says, for the terminal and for the record of an attempt that finds the run finished.

Reads report.json. Test: tests/trainer/driver/test_attempt.py.
"""

import json
from pathlib import Path

from finetune.api.record import CheckpointRecord, Metrics, ModelProvenance, OutputRecord
from finetune.api.results import REPORT
from finetune.api.trainconfig import TrainConfig
from trainer.reporting.messages import RecordUpdate


def update_from_report(directory: Path, config: TrainConfig) -> RecordUpdate:
    """Return the record's fields that a finished run's report holds, for an attempt that finds it finished."""
    report = json.loads((directory / REPORT).read_text(encoding="utf-8"))
    figures = {
        name: {metric: entry["value"] for metric, entry in report[name].items() if entry["value"] is not None}
        for name in ("baseline", "final")
    }
    uri = (config.output.uri or str(directory)).rstrip("/")
    return RecordUpdate(
        metrics=Metrics(baseline=figures["baseline"], final=figures["final"], best=report["best"]),
        checkpoints=[CheckpointRecord.model_validate(checkpoint) for checkpoint in report["checkpoints"]],
        model=ModelProvenance.model_validate(report["model"]),
        output=OutputRecord(uri=uri, report_uri=f"{uri}/{REPORT}"),
    )


def print_report(directory: Path) -> None:
    """Print the table base against tuned and the answers of both models."""
    from rich.console import Console

    from trainer.reporting.render import render_table

    Console().print(render_table(json.loads((directory / REPORT).read_text(encoding="utf-8"))))
