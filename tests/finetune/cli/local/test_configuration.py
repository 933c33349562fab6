"""A job that was written for a cluster runs here on files of this machine, and what is different is said."""

from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import BadInputError
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.configuration import Folders, LocalRun, plan_local_run
from finetune.cli.local.machine import Machine
from tests.builders import REMOVED
from tests.finetune.cli.builders import CONFIG_MAP, job, write


def plan(folder: Path, claims: dict[str, Path] | None = None, **changes: Any) -> LocalRun:
    found = read_job_file(write(folder, CONFIG_MAP, job(**changes)))
    return plan_local_run(found, Folders(folder / "out"), claims or {}, Machine(cpus=2, gpus=0))


def test_output_and_progress_lie_in_the_folder_of_output(tmp_path: Path) -> None:
    config = plan(tmp_path).config
    assert config.output.directory == str(tmp_path / "out")
    assert config.progress.file == str(tmp_path / "out/.finetune/progress.json")
    assert (config.job.name, config.job.uid) == ("support-bot", None)


def test_a_config_map_source_becomes_a_file(tmp_path: Path) -> None:
    run = plan(tmp_path)
    path = tmp_path / "out/.finetune/configmaps/pairs/train.jsonl"
    assert run.config.data.train[0].path == str(path)
    assert run.config_map_files == {path: b'{"a": 1}\n'}


def test_a_path_is_relative_to_the_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "rows.jsonl").touch()
    monkeypatch.chdir("/")
    config = plan(tmp_path / "job", spec__data__train=[{"path": "../rows.jsonl"}]).config
    assert config.data.train[0].path == str(tmp_path / "rows.jsonl")


def test_a_claim_that_is_read_is_the_folder_that_is_given_for_it(tmp_path: Path) -> None:
    (tmp_path / "store/llm").mkdir(parents=True)
    config = plan(
        tmp_path, {"weights": tmp_path / "store"}, spec__model={"persistentVolumeClaim": {"claimName": "weights", "path": "llm"}}
    ).config
    assert config.model.path == str(tmp_path / "store/llm")
    assert config.model.persistent_volume_claim is None


def test_every_source_that_cannot_be_found_is_reported(tmp_path: Path) -> None:
    synonyms = {"synonymReplacement": {"dictionary": {"path": "none.tsv"}}}
    with pytest.raises(BadInputError) as raised:
        plan(
            tmp_path,
            {"given": tmp_path},
            spec__model={"path": "none"},
            spec__data__train=[
                {"configMap": {"name": "pair", "key": "train.jsonl"}},
                {"configMap": {"name": "pairs", "key": "train.json"}},
                {"persistentVolumeClaim": {"claimName": "rows"}},
                {"persistentVolumeClaim": {"claimName": "given", "path": "none.csv"}},
            ],
            spec__augmentation={"operations": [synonyms]},
        )
    assert str(raised.value).splitlines() == [
        f"spec.model.path: there is nothing at {tmp_path}/none; paths are relative to the job file",
        "spec.data.train[0].configMap.name: there is no ConfigMap 'pair' in job.yaml; add it to the file, or did you mean pairs?",
        "spec.data.train[1].configMap.key: ConfigMap pairs has no key 'train.json'; did you mean train.jsonl?",
        "spec.data.train[2].persistentVolumeClaim.claimName: there is no claim 'rows' on this machine; "
        "name a folder to read in its place: --claim rows=DIR",
        f"spec.data.train[3].persistentVolumeClaim.path: there is nothing at {tmp_path}/none.csv; "
        "it is looked for in the folder given by --claim given=…",
        f"spec.augmentation.operations[0].synonymReplacement.dictionary.path: there is nothing at {tmp_path}/none.tsv; "
        "paths are relative to the job file",
    ]


def test_rows_may_come_from_a_folder_or_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "set a").mkdir()
    claim = {"persistentVolumeClaim": {"claimName": "rows", "path": "set a/**/*.jsonl"}}
    config = plan(tmp_path, {"rows": tmp_path}, spec__data__train=[{"path": "./set a"}, {"path": "set a/*.jsonl"}, claim]).config
    assert [source.path for source in config.data.train] == [
        f"{tmp_path}/set a",
        f"{tmp_path}/set a/*.jsonl",
        f"{tmp_path}/set a/**/*.jsonl",
    ]


def test_a_file_that_is_called_like_a_pattern_is_found(tmp_path: Path) -> None:
    (tmp_path / "rows [1].jsonl").touch()
    assert plan(tmp_path, spec__data__train=[{"path": "rows [1].jsonl"}]).config.data.train[0].path == f"{tmp_path}/rows [1].jsonl"


def test_a_pattern_without_its_folder_and_one_for_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as raised:
        plan(tmp_path, spec__model={"path": "model*"}, spec__data__train=[{"path": "none/*.jsonl"}, {"path": "a" * 300}])
    assert str(raised.value).splitlines() == [
        f"spec.model.path: there is nothing at {tmp_path}/model*; paths are relative to the job file",
        f"spec.data.train[0].path: there is no folder {tmp_path}/none, in which *.jsonl is looked for; paths are relative to the job file",
        f"spec.data.train[1].path: {tmp_path}/{'a' * 300} cannot be looked at: File name too long; check the path and its permissions",
    ]


def test_the_claim_that_is_written_becomes_the_output_folder_in_one_line(tmp_path: Path) -> None:
    assert plan(tmp_path).notices == (f"results go to {tmp_path}/out instead of claim models",)


def test_a_run_that_leaves_the_output_alone_does_not_speak_of_it(tmp_path: Path) -> None:
    found = read_job_file(write(tmp_path))
    assert plan_local_run(found, Folders(tmp_path / "out", aside=tmp_path / "aside"), {}, Machine(cpus=2, gpus=0)).notices == ()


def test_fields_that_only_a_cluster_knows_are_named_in_one_warning(tmp_path: Path) -> None:
    warnings = plan(
        tmp_path,
        metadata__labels={"kueue.x-k8s.io/queue-name": "team"},
        spec__resources={"cpu": "8", "memory": "64Gi"},
        spec__runPolicy={"maxAttempts": 5},
        spec__model__tokenSecret={"name": "hub", "key": "token"},
    ).warnings
    assert warnings == (
        "only a cluster uses spec.resources.cpu, spec.resources.memory, spec.runPolicy.maxAttempts, "
        "spec.model.tokenSecret, metadata.labels[kueue.x-k8s.io/queue-name] (a gated model is read with HF_TOKEN of the environment)",
    )


def test_a_claim_given_for_nothing_is_reported(tmp_path: Path) -> None:
    assert plan(tmp_path, {"typo": tmp_path}).warnings == ("--claim typo: the job reads no such claim; the folder is not used",)


def test_the_configuration_survives_its_way_through_the_file(tmp_path: Path) -> None:
    config = plan(tmp_path).config
    assert type(config).model_validate(config.to_wire()) == config


def test_without_a_claim_for_the_output_none_is_spoken_of(tmp_path: Path) -> None:
    run = plan(tmp_path, spec__output=REMOVED)
    assert run.notices == ()
    assert [export.value for export in run.config.exports] == ["adapter"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("https://example.com/rows.jsonl", "is an address, not a file; download it, and give the path of the file"),
        ("s3://bucket/rows.jsonl", "is an address, not a file; download it, and give the path of the file"),
        ("/nowhere/rows.jsonl", "there is nothing at /nowhere/rows.jsonl; check the path"),
        ("rows.jsonl", "rows.jsonl; paths are relative to the job file"),
    ],
)
def test_a_path_that_leads_nowhere_is_reported_with_what_to_do(tmp_path: Path, path: str, expected: str) -> None:
    with pytest.raises(BadInputError) as raised:
        plan(tmp_path, spec__data__train=[{"path": path}])
    assert str(raised.value).startswith("spec.data.train[0].path: ")
    assert str(raised.value).endswith(expected)
