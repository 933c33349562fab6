"""A job that starts from another, on this machine: the folder that is given for that one, and --continue in its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.earlierjobs import EarlierRun
from finetune.api.errors import BadInputError
from finetune.api.results import SMALL_FILES, WEIGHTS
from finetune.api.sections import Export
from finetune.api.trainconfig import TrainConfig
from finetune.cli.command import parse_jobs
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.configuration import Folders, LocalRun, plan_local_run
from finetune.cli.local.machine import Machine
from finetune.cli.local.output import own_files, previous_run_finished, remove_run
from finetune.cli.local.replacing import set_aside, settle
from tests.finetune.cli.builders import CONFIG_MAP, job, write

OF_MODEL: dict[str, Any] = {"spec__model": {"fineTuneJob": {"name": "first"}}}
OF_RUN: dict[str, Any] = {"spec__continueFrom": {"fineTuneJob": "first"}}


def plan(folder: Path, jobs: dict[str, Path] | None = None, **changes: Any) -> LocalRun:
    found = read_job_file(write(folder, CONFIG_MAP, job(**changes)))
    return plan_local_run(found, Folders(folder / "out"), {}, Machine(cpus=2, gpus=0), jobs or {})


def earlier(folder: Path, *forms: Export, finished: bool = True, name: str = "first", uid: str | None = None) -> Path:
    """Leave what a run leaves."""
    (folder / "earlier").mkdir()
    (folder / "earlier" / "run.json").write_text(json.dumps({"owner": {"name": name, "uid": uid}, "finished": finished}))
    (folder / "earlier" / "report.json").write_text("{}")
    for form in forms:
        (folder / "earlier" / "model" / form.value).mkdir(parents=True)
        for file in (SMALL_FILES[form], WEIGHTS[form]):
            (folder / "earlier" / "model" / form.value / file).touch()
    return folder / "earlier"


def refused(folder: Path, jobs: dict[str, Path], **changes: Any) -> str:
    with pytest.raises(BadInputError) as error:
        plan(folder, jobs, **changes)
    return str(error.value)


def test_the_model_of_an_earlier_run_is_its_merged_one(tmp_path: Path) -> None:
    folder = earlier(tmp_path, Export.MERGED)
    model = plan(tmp_path, {"first": folder}, **OF_MODEL).config.model
    assert (model.path, model.fine_tune_job) == (f"{folder}/model/merged", EarlierRun(name="first", path=str(folder)))


def test_a_run_to_continue_needs_no_merged_model_and_one_from_a_cluster_keeps_its_uid(tmp_path: Path) -> None:
    folder = earlier(tmp_path, uid="aaaabbbb")
    found = plan(tmp_path, {"first": folder}, **OF_RUN).config.continue_from
    assert found is not None
    assert found.to_wire() == {"fineTuneJob": {"name": "first", "uid": "aaaabbbb", "path": str(folder)}}


@pytest.mark.parametrize(("changes", "field"), [(OF_MODEL, "model.fineTuneJob.name"), (OF_RUN, "continueFrom.fineTuneJob")])
def test_a_job_that_is_not_here_is_asked_for(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    message = refused(tmp_path, {}, **changes)
    assert message == f"spec.{field}: there is no job 'first' on this machine; name the folder of its run: --job first=DIR"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({}, "spec.model.fineTuneJob.name: the run in {0} has no merged model, from which a job can begin; write it: finetune export {0}"),
        ({"finished": False}, "--job: first: the run in {0} has not finished; finish it first, with `finetune run`"),
        ({"name": "other"}, "--job: first: {0} holds a run of the job 'other'; give the folder of that job"),
    ],
    ids=["adapter alone", "unfinished", "another job"],
)
def test_a_run_that_cannot_be_started_from_is_refused_with_what_to_do(tmp_path: Path, left: dict[str, Any], words: str) -> None:
    folder = earlier(tmp_path, Export.ADAPTER, **left)
    assert refused(tmp_path, {"first": folder}, **OF_MODEL).startswith(words.format(folder))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert "first: " in refused(tmp_path, {"first": tmp_path}, **OF_RUN)
    (tmp_path / "run.json").write_text("torn")
    assert "holds no run: there is no run.json that can be read" in refused(tmp_path, {"first": tmp_path}, **OF_RUN)


def test_nothing_is_written_into_the_folder_that_is_read(tmp_path: Path) -> None:
    folder = earlier(tmp_path).rename(tmp_path / "out")
    assert "is the folder of the job first, which is only read; give another --output" in refused(tmp_path, {"first": folder}, **OF_RUN)


def test_nothing_is_written_into_a_folder_below_the_one_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"owner": {"name": "first"}, "finished": True}))
    said = refused(tmp_path, {"first": tmp_path}, **OF_RUN)
    assert f"{tmp_path / 'out'} is in the folder of the job first, which is only read; give another --output" in said
    (tmp_path / "next").mkdir()
    (tmp_path / "run.json").rename(tmp_path / "next" / "run.json")
    plan(tmp_path, {"first": tmp_path / "next"}, **OF_RUN)


def test_a_folder_that_is_given_for_nothing_is_named(tmp_path: Path) -> None:
    assert "--job other: the job names no such job; the folder is not used" in plan(tmp_path, {"other": tmp_path}).warnings


@pytest.mark.parametrize("changes", [OF_MODEL, OF_RUN], ids=["model", "run"])
def test_a_job_cannot_start_from_itself(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="a job cannot start from itself; name an earlier job"):
        plan(tmp_path, **changes, metadata__name="first")


def test_jobs_are_given_as_claims_are(tmp_path: Path) -> None:
    assert parse_jobs([f"first={tmp_path}"]) == {"first": tmp_path}
    with pytest.raises(BadInputError, match="--job: 'first' is not of the form NAME=DIR; write --job my-job=/folder"):
        parse_jobs(["first"])


def previous(folder: Path, of: TrainConfig, *, finished: bool = True) -> None:
    content = {"owner": {"uid": None, "name": of.job.name}, "lineage": of.lineage(), "digests": {}, "finished": finished}
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "run.json").write_text(json.dumps(content))


def epochs(folder: Path, count: float, *, lengthen: bool = False, **changes: Any) -> TrainConfig:
    run = plan(folder, **({"spec__training": {"epochs": count}} | changes))
    return (run.lengthening() if lengthen else run).config


def test_a_longer_run_is_refused_in_a_finished_ones_folder_with_the_advice_to_continue_it(tmp_path: Path) -> None:
    previous(tmp_path, epochs(tmp_path, 1))
    with pytest.raises(
        BadInputError, match=r"spec.training.epochs: is not what it was .*to train the run in that folder for longer, add --c"
    ):
        previous_run_finished(Folders(tmp_path / "out"), epochs(tmp_path, 2))


@pytest.mark.parametrize("finished", [True, False])
def test_a_longer_run_goes_on_where_that_is_asked_for(tmp_path: Path, finished: bool) -> None:
    previous(tmp_path, epochs(tmp_path, 1), finished=finished)
    assert previous_run_finished(Folders(tmp_path / "out"), epochs(tmp_path, 2, lengthen=True)) is False


@pytest.mark.parametrize(("count", "words"), [(1, "1 is not more than the 1 that the run in"), (0.5, "0.5 is not more than the 1 that")])
def test_a_run_that_is_no_longer_cannot_be_continued(tmp_path: Path, count: float, words: str) -> None:
    previous(tmp_path, epochs(tmp_path, 1))
    with pytest.raises(BadInputError, match=f"spec.training.epochs: {words}"):
        previous_run_finished(Folders(tmp_path / "out"), epochs(tmp_path, count, lengthen=True))


def test_a_continued_run_that_was_interrupted_goes_on_with_the_same_command(tmp_path: Path) -> None:
    previous(tmp_path, epochs(tmp_path, 2), finished=False)
    assert previous_run_finished(Folders(tmp_path / "out"), epochs(tmp_path, 2, lengthen=True)) is False


def test_what_else_differs_is_named_in_a_run_to_continue(tmp_path: Path) -> None:
    previous(tmp_path, epochs(tmp_path, 1))
    with pytest.raises(BadInputError, match=r"spec.training.seed: is not what it was in the run that .* holds; give another --output, or"):
        previous_run_finished(Folders(tmp_path / "out"), epochs(tmp_path, 0, spec__training={"epochs": 2, "seed": 1}, lengthen=True))


def test_where_there_is_no_run_there_is_nothing_to_continue(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"--continue: .* holds no run to continue; leave --continue out"):
        previous_run_finished(Folders(tmp_path / "out"), epochs(tmp_path, 1, lengthen=True))


def test_the_reports_of_shorter_runs_go_with_the_run(tmp_path: Path) -> None:
    previous(tmp_path, epochs(tmp_path, 1))
    for name in ("report-20.json", "report-x.json", "report.json"):
        (tmp_path / "out" / name).touch()
    folders = Folders(tmp_path / "out")
    assert [name for name in own_files(folders.output) if name.startswith("report-")] == ["report-20.json"]
    assert set_aside(folders)
    assert not (tmp_path / "out" / "report-20.json").exists()
    settle(folders)
    assert (tmp_path / "out" / "report-20.json").exists()
    remove_run(folders)
    assert [path.name for path in (tmp_path / "out").glob("report*")] == ["report-x.json"]
