"""Which model of which earlier job is trained, and that it is the one that the job exported."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.earlierjobs import EarlierRun, FineTunedModel
from finetune.api.errors import InputError
from finetune.api.sources import ModelSource
from finetune.api.trainconfig import RunModel
from trainer.model.earlier import field_of, made_by, source_of
from trainer.model.location import locate


def model(folder: Path, uid: str | None = None) -> RunModel:
    earlier = EarlierRun(name="first", uid=uid, path=str(folder))
    return RunModel(path=f"{folder}/model/merged", fine_tune_job=earlier)


def exported(folder: Path, **entry: Any) -> None:
    exports = [{"form": "adapter", "step": 1}, {"form": "merged", **entry}]
    (folder / "report.json").write_text(json.dumps({"exports": exports}))


def test_a_model_of_an_earlier_job_is_named_with_uid_and_step(tmp_path: Path) -> None:
    exported(tmp_path, step=60, digest="sha256:abc")
    expected = FineTunedModel(name="first", uid="u-1", step=60, digest="sha256:abc")
    assert made_by(model(tmp_path, "u-1"), "sha256:abc") == expected


def test_other_weights_than_the_job_exported_are_refused(tmp_path: Path) -> None:
    exported(tmp_path, step=60, digest="sha256:abc")
    with pytest.raises(
        InputError, match=r"^model\.fineTuneJob: the weights in .* are not those that the job first exported \(sha256:abc\)"
    ):
        made_by(model(tmp_path), "sha256:def")


def test_a_report_of_a_version_that_recorded_no_digest_is_believed(tmp_path: Path) -> None:
    exported(tmp_path, step=60)
    assert made_by(model(tmp_path), "sha256:def") == FineTunedModel(name="first", step=60, digest="sha256:def")


def test_an_output_without_a_report_is_of_no_finished_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^model\.fineTuneJob: .* has no report\.json: the job first has not finished"):
        made_by(model(tmp_path), "sha256:def")


def test_a_model_from_elsewhere_is_of_no_job() -> None:
    assert made_by(ModelSource(path="/models/small"), "sha256:def") is None


@pytest.mark.parametrize(
    ("given", "field", "source"),
    [
        (model(Path("/mnt/claims/models/a")), "model.fineTuneJob", "the job first, folder /x"),
        (RunModel(path="/mnt/claims/models/a"), "model.persistentVolumeClaim", "folder /x"),
        (ModelSource(path="/home/models/a"), "model.path", "folder /x"),
    ],
    ids=["job", "claim", "path"],
)
def test_a_folder_is_named_by_what_the_job_calls_it(given: ModelSource, field: str, source: str) -> None:
    assert (field_of(given), source_of(given, Path("/x"))) == (field, source)


def test_a_model_that_is_gone_is_missed_by_the_field_that_names_the_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^model\.fineTuneJob: there is no folder .*/model/merged"):
        locate(model(tmp_path))
