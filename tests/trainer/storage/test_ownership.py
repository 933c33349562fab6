"""An output folder belongs to one run; the field that says otherwise is named."""

import json
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import Ownership, no_checkpoint_left, recorded_time


def config(
    folder: Path, *, name: str = "job", uid: str | None = None, workers: int = 1, learning_rate: float = 1e-3, data: str = "/x.jsonl"
) -> TrainConfig:
    changes = {"job": {"name": name, "uid": uid}, "data__train": [{"path": data}], "training__learningRate": learning_rate}
    return train_config(folder, workers={"workers": workers}, output={"directory": str(folder)}, **changes)


def owned(folder: Path, rows: str = "rows", **changes) -> Ownership:
    return Ownership.of(config(folder, **changes), {"data.train": rows, "data.test": "the same"})


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    assert owned(tmp_path).finished() is False


@pytest.mark.parametrize("finished", [True, False])
def test_the_same_run_is_recognized_and_knows_whether_it_is_finished(tmp_path: Path, finished: bool) -> None:
    owned(tmp_path).write(finished=finished)
    assert owned(tmp_path).finished() is finished


def test_another_number_of_workers_is_the_same_run(tmp_path: Path) -> None:
    owned(tmp_path, workers=2).write(finished=False)
    assert owned(tmp_path, workers=1).finished() is False
    assert owned(tmp_path, workers=1).owner == owned(tmp_path, workers=2).owner


def test_a_run_of_a_version_that_lacked_a_field_is_recognized_with_its_checkpoints(tmp_path: Path) -> None:
    earlier = owned(tmp_path)
    del earlier.lineage["training"]["groupByLength"]
    earlier.write(finished=True)

    again = owned(tmp_path).as_recorded()

    assert again.finished() is True
    assert again.owner == Ownership.recorded(LocalFolder(tmp_path)).owner != owned(tmp_path).owner


def test_a_run_that_uses_what_an_earlier_version_lacked_is_another_one(tmp_path: Path) -> None:
    earlier = owned(tmp_path)
    earlier.lineage["training"]["groupByLength"] = not earlier.lineage["training"].pop("groupByLength")
    earlier.write(finished=True)

    with pytest.raises(InputError, match=r"^training\.groupByLength: is not what it was"):
        owned(tmp_path).as_recorded().finished()


def test_the_same_rows_at_another_place_are_the_same_run(tmp_path: Path) -> None:
    owned(tmp_path, data="/before/x.jsonl").write(finished=True)
    assert owned(tmp_path, data="/after/x.jsonl").finished() is True
    assert owned(tmp_path, data="/before/x.jsonl").owner == owned(tmp_path, data="/after/x.jsonl").owner


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"learning_rate": 1e-4}, "training.learningRate", id="configuration"),
        pytest.param({"name": "other"}, "output", id="another job"),
        pytest.param({"uid": "f00"}, "output", id="a cluster's job on a laptop's folder"),
        pytest.param({"rows": "others"}, "data.train", id="other rows in the same file"),
    ],
)
def test_another_runs_folder_is_refused_and_the_field_is_named(tmp_path: Path, changes: dict, field: str) -> None:
    owned(tmp_path).write(finished=False)
    with pytest.raises(InputError) as refused:
        owned(tmp_path, **changes).finished()
    assert refused.value.field == field
    assert "--overwrite" in str(refused.value)


def test_checkpoints_that_nobody_claims_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match=r"no run\.json"):
        owned(tmp_path).finished()


def test_rows_that_changed_between_two_attempts_of_a_cluster_job_are_refused(tmp_path: Path) -> None:
    owned(tmp_path, uid="f00").write(finished=False)
    with pytest.raises(InputError, match=r"^data\.train: holds something else") as refused:
        owned(tmp_path, "others", uid="f00").finished()
    assert "--overwrite" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b'{"owner": {"name": "job", "uid": null}}', id="of another version"),
        pytest.param(b'{"owner": {}, "lineage": {}, "digests": {}, "finished": true}', id="no name"),
        pytest.param(b'{"owner": {"uid": null, "name": "job"}, "lineage": [], "digests": {}, "finished": true}', id="lineage"),
        pytest.param(b'{"owner": {"uid": null, "name": "job"}, "lineage": {}, "digests": {"data": {}}, "finished": true}', id="digest"),
        pytest.param(b'{"owner": {"uid": null, "name": "job"}, "lineage": {}, "digests": {}, "finished": "often"}', id="finished"),
    ],
)
def test_a_record_that_cannot_be_read_is_reported_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"^output: .*run\.json is damaged"):
        owned(tmp_path).finished()
    with pytest.raises(InputError, match=r"^output: .*run\.json is damaged"):
        recorded_time(LocalFolder(tmp_path))
    with pytest.raises(InputError, match=r"^DIR: .*run\.json is damaged.*; restore it, or name the folder of another run"):
        Ownership.recorded(LocalFolder(tmp_path))
    assert (tmp_path / "run.json").read_bytes() == content


@pytest.mark.parametrize("change", [{"method": None}, {"method": {"magic": {}}}, {"task": "sing"}, {"model": {"name": 5}}], ids=str)
def test_a_lineage_that_no_export_can_read_is_reported(tmp_path: Path, change: dict) -> None:
    owned(tmp_path).write(finished=True)
    written = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(written | {"lineage": written["lineage"] | change}))

    with pytest.raises(InputError, match=r"^DIR: .*run\.json is damaged, or another version wrote it"):
        Ownership.recorded(LocalFolder(tmp_path))


@pytest.mark.parametrize(
    ("uid", "words"), [(None, "start over with --overwrite"), ("f00", "create a new job")], ids=["here", "on a cluster"]
)
def test_what_to_do_about_lost_checkpoints_is_what_can_be_done_there(tmp_path: Path, uid: str | None, words: str) -> None:
    assert str(no_checkpoint_left(LocalFolder(tmp_path), uid)).endswith(f"restore its checkpoints, or {words}")
