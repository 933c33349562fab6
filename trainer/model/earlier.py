"""The model that an earlier job made: whether it is the one that the job exported, and which it is, for record, report and card.

Reads the small files of the earlier output; no torch. Test: tests/trainer/model/test_earlier.py.
"""

from pathlib import Path
from typing import Any

from finetune.api.earlierjobs import EarlierRun, FineTunedModel
from finetune.api.errors import InputError
from finetune.api.results import ResultsFolder, read_report
from finetune.api.sections import Export
from finetune.api.sources import CLAIMS_DIRECTORY, ModelSource
from finetune.api.trainconfig import RunModel

FIELD = "model.fineTuneJob"
ADAPTER_NEEDS_STAGE = (
    "output.export: the adapter belongs to the model that learned domainAdaptation.corpus, which has to be kept (adaptation/model/merged in"
    " the output); export merged for a model that needs no other"
)


def earlier_run(model: ModelSource) -> EarlierRun | None:
    """Return the earlier job whose model this is, None for a model from elsewhere."""
    return model.fine_tune_job if isinstance(model, RunModel) else None


def adapted_folder(model: ModelSource) -> str | None:
    """Return the folder of the model that learned a corpus in place of this one, None where none was."""
    return model.adapted.path if isinstance(model, RunModel) and model.adapted is not None else None


def untouched(model: ModelSource) -> ModelSource:
    """Return the request for the model as it was before it learned a corpus."""
    return model.model_copy(update={"adapted": None}) if adapted_folder(model) is not None else model


def field_of(model: ModelSource) -> str:
    """Return the part of the job that names a model which is a folder."""
    if earlier_run(model) is not None:
        return FIELD
    return "model.persistentVolumeClaim" if str(model.path).startswith(f"{CLAIMS_DIRECTORY}/") else "model.path"


def source_of(model: ModelSource, path: Path) -> str:
    """Return where a model which is a folder came from, in words."""
    earlier = earlier_run(model)
    return f"folder {path}" if earlier is None else f"the job {earlier.name}, folder {path}"


def made_by(model: ModelSource, digest: str) -> FineTunedModel | None:
    """Return which model of which earlier job has weights of this digest; None for a model from elsewhere, or that learned a corpus since.

    Raises InputError where the earlier job's report says that it exported other weights.
    """
    earlier = earlier_run(model)
    if earlier is None or adapted_folder(model) is not None:  # what learned a corpus is no longer what the earlier job made
        return None
    exported = _exported(earlier)
    recorded = exported.get("digest")  # a report of a version that recorded none has nothing to compare with
    if recorded is not None and recorded != digest:
        problem = f"the weights in {model.path} ({digest}) are not those that the job {earlier.name} exported ({recorded})"
        raise InputError(FIELD, problem, "restore them, or have that job's model exported again")
    step = exported.get("step")
    return FineTunedModel(name=earlier.name, uid=earlier.uid, step=step if isinstance(step, int) else None, digest=digest)


def _exported(earlier: EarlierRun) -> dict[str, Any]:
    """Return the report's entry of the merged model."""
    report = read_report(ResultsFolder(Path(earlier.path)))
    if report is None:
        problem = f"{earlier.path} has no report.json: the job {earlier.name} has not finished, or its results were removed"
        raise InputError(FIELD, problem, "let it finish, or restore its output")
    entries = [entry for entry in report.get("exports") or () if entry.get("form") == Export.MERGED.value]
    return dict(entries[-1]) if entries else {}
