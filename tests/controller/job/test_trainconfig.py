"""From the spec to the trainer's configuration."""

from typing import Any

import pytest

from controller.job.trainconfig import ray_cpus, train_config
from finetune.api.resolve import build, local_paths, references, resolve
from finetune.api.spec import Resources
from finetune.api.trainconfig import JobIdentity, OutputFolder, ProgressTarget, TrainConfig, Workers
from tests.controller.job.builders import FOLDER, UID, job

EVERYTHING: dict[str, Any] = {
    "model": {"persistentVolumeClaim": {"claimName": "models", "path": "base/"}},
    "data": {
        "train": [
            {"configMap": {"name": "rows", "key": "train.jsonl"}, "columns": {"prompt": "q"}},
            {"huggingFace": {"name": "org/set"}},
            {"path": "here.csv", "format": "csv"},
        ],
        "validation": [{"persistentVolumeClaim": {"claimName": "data", "path": "val.parquet"}}],
    },
    "augmentation": {
        "operations": [
            {"wordSwap": {}},
            {"synonymReplacement": {"dictionary": {"configMap": {"name": "words", "key": "w.tsv"}}}},
            {"paraphrase": {"model": {"persistentVolumeClaim": {"claimName": "writers", "path": "small"}}}},
            {"backTranslation": {"there": {"name": "org/there"}, "back": {"persistentVolumeClaim": {"claimName": "back"}}}},
        ]
    },
}


def spec_of(**sections: Any) -> Any:
    return job(**sections).spec


def test_every_place_is_listed_with_its_field() -> None:
    found = [
        (r.field, r.claim.claim_name if r.claim else r.config_map.name if r.config_map else r.path)
        for r in references(spec_of(**EVERYTHING))
    ]
    assert found == [
        ("model", "models"),
        ("data.train[0]", "rows"),
        ("data.train[2]", "here.csv"),
        ("data.validation[0]", "data"),
        ("augmentation.operations[1].synonymReplacement.dictionary", "words"),
        ("augmentation.operations[2].paraphrase.model", "writers"),
        ("augmentation.operations[3].backTranslation.back", "back"),
    ]
    assert [reference.field for reference in local_paths(spec_of(**EVERYTHING))] == ["data.train[2]"]


def test_resolving_replaces_places_by_paths_and_nothing_else() -> None:
    resolved = resolve(spec_of(**EVERYTHING), lambda reference: f"/files/{reference.field}")
    wire = resolved.to_wire()
    assert wire["model"] == {"path": "/files/model", "initialization": "pretrained"}
    assert wire["data"]["train"] == [
        {"path": "/files/data.train[0]", "columns": {"prompt": "q"}},
        {"huggingFace": {"name": "org/set", "split": "train"}},
        {"path": "/files/data.train[2]", "format": "csv"},
    ]
    assert wire["augmentation"]["operations"][1]["synonymReplacement"]["dictionary"]["path"].endswith(".dictionary")
    assert wire["augmentation"]["operations"][2]["paraphrase"]["model"]["path"] == "/files/augmentation.operations[2].paraphrase.model"
    there, back = (wire["augmentation"]["operations"][3]["backTranslation"][name] for name in ("there", "back"))
    assert (there["name"], back["path"]) == ("org/there", "/files/augmentation.operations[3].backTranslation.back")
    assert wire["training"] == spec_of(**EVERYTHING).to_wire()["training"]


def test_on_a_cluster_places_are_mount_points() -> None:
    cluster = EVERYTHING | {"data": {"train": EVERYTHING["data"]["train"][:2], "validation": EVERYTHING["data"]["validation"]}}
    config = train_config(
        job(**cluster, distributed={"workers": 3}, resources={"cpu": "2500m", "gpus": 2}, training={"epochs": 1, "globalBatchSize": 36}), 2
    )
    assert config.model.path == "/mnt/claims/models/base"
    assert config.data.train[0].path == "/mnt/configmaps/rows/train.jsonl"
    assert config.data.validation is not None
    assert config.data.validation[0].path == "/mnt/claims/data/val.parquet"
    assert config.output == OutputFolder(directory=f"/mnt/claims/models/{FOLDER}", uri=f"pvc://models/{FOLDER}")
    assert config.job == JobIdentity(name="bot", namespace="team", uid=UID, attempt=2)
    assert config.workers == Workers(workers=3, gpus_per_worker=2, cpus_per_worker=3)
    assert config.progress == ProgressTarget(namespace="team", config_map="bot-2-progress-0123abcd")


def test_the_configuration_survives_its_way_through_json() -> None:
    config = train_config(job(distributed={"deepspeed": {"zeroStage": 3}}), 1)
    assert TrainConfig.model_validate_json(config.model_dump_json(by_alias=True, exclude_none=True)) == config


def test_the_next_attempt_continues_the_same_run() -> None:
    first, second = train_config(job(), 1), train_config(job(distributed={"workers": 4}), 2)
    assert first.lineage_digest() == second.lineage_digest()
    assert first.output == second.output


def test_a_folder_in_the_claim_is_the_parent_of_the_jobs_own() -> None:
    config = train_config(job(output={"persistentVolumeClaim": {"claimName": "models", "path": "team/bots/"}}), 1)
    assert config.output.directory == f"/mnt/claims/models/team/bots/{FOLDER}"


def test_a_laptop_builds_the_same_sections() -> None:
    spec = spec_of(regularization={"dropout": 0.1})
    config = build(
        spec,
        lambda reference: "/home/me/rows.jsonl",
        job=JobIdentity(name="bot"),
        workers=Workers(),
        output=OutputFolder(directory="/runs/bot"),
        progress=ProgressTarget(file="/runs/bot/progress.json"),
    )
    on_cluster = train_config(job(regularization={"dropout": 0.1}), 1)
    assert (config.training, config.regularization, config.evaluation) == (
        on_cluster.training,
        on_cluster.regularization,
        on_cluster.evaluation,
    )
    assert config.data.train[0].path == "/home/me/rows.jsonl"


@pytest.mark.parametrize(
    ("quantity", "gpus", "cpus"), [("1", 0, 1), ("500m", 0, 1), ("0.1", 0, 1), ("1.5", 0, 2), ("2500m", 0, 3), ("16", 4, 16), ("2", 8, 8)]
)
def test_ray_counts_whole_cpus_and_one_for_each_rank(quantity: str, gpus: int, cpus: int) -> None:
    assert ray_cpus(Resources(cpu=quantity, gpus=gpus)) == cpus


def test_a_local_path_has_no_place_in_a_pod() -> None:
    with pytest.raises(ValueError, match=r"data.train\[0\]: a local path"):
        train_config(job(data={"train": [{"path": "x.jsonl"}]}), 1)
