"""The quickstart's job and rows: valid, as its script chooses them, and with a test set that repeats nothing that is trained on."""

import importlib.util
import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from finetune.api.spec import API_VERSION, FineTuneJobSpec
from tests.repository import REPOSITORY

Row = dict[str, str]
Parts = dict[str, list[Row]]
Documents = dict[str, dict[str, Any]]

SAMPLES = REPOSITORY / "manifests" / "samples"
SCRIPT = REPOSITORY / "scripts" / "make_quickstart.py"
COLUMNS = {"message", "intent"}


def words(message: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", message.lower()))


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_quickstart", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def banking77(real_data: Path) -> Path:
    """The data set that the rows are from."""
    return real_data / "banking77"


def test_the_job_reads_every_key_of_the_config_map_and_writes_to_the_claim(quickstart_documents: Documents) -> None:
    job, config_map, claim = (quickstart_documents[kind] for kind in ("FineTuneJob", "ConfigMap", "PersistentVolumeClaim"))
    spec = FineTuneJobSpec.model_validate(job["spec"])
    assert job["apiVersion"] == API_VERSION
    read = {source.config_map for source in [*spec.data.train, *(spec.data.validation or []), *(spec.data.test or [])]}
    assert {(key.name, key.key) for key in read if key} == {(config_map["metadata"]["name"], key) for key in config_map["data"]}
    assert spec.output.persistent_volume_claim.claim_name == claim["metadata"]["name"]


def test_the_claim_is_of_the_default_class_and_belongs_to_nobody(quickstart_documents: Documents) -> None:
    claim = quickstart_documents["PersistentVolumeClaim"]
    assert "storageClassName" not in claim["spec"]
    assert "ownerReferences" not in claim["metadata"]


def test_the_job_draws_a_row_at_most_once_and_leaves_at_least_three_checkpoints(
    quickstart_documents: Documents, quickstart_rows: Parts
) -> None:
    spec = FineTuneJobSpec.model_validate(quickstart_documents["FineTuneJob"]["spec"])
    steps = spec.training.max_steps
    assert steps is not None
    assert spec.checkpoint is not None
    assert steps * spec.training.global_batch_size <= len(quickstart_rows["train"])
    assert steps // spec.checkpoint.every_steps >= 3
    assert spec.checkpoint.keep >= 3


def test_early_stopping_can_act_before_the_last_step(quickstart_documents: Documents) -> None:
    spec = FineTuneJobSpec.model_validate(quickstart_documents["FineTuneJob"]["spec"])
    assert spec.regularization is not None
    assert spec.regularization.early_stopping is not None
    assert spec.evaluation is not None
    validations = range(spec.evaluation.every_steps, spec.training.max_steps or 0, spec.evaluation.every_steps)
    assert len(validations) > spec.regularization.early_stopping.patience, "the first one is what the others are measured by"


def test_the_config_map_fits_into_the_annotation_that_kubectl_apply_writes(quickstart_documents: Documents) -> None:
    assert len(json.dumps(quickstart_documents["ConfigMap"])) < 250_000, "the limit of all annotations together is 262144 bytes"


def test_each_column_that_the_job_names_is_in_the_rows(quickstart_documents: Documents, quickstart_rows: Parts) -> None:
    data = FineTuneJobSpec.model_validate(quickstart_documents["FineTuneJob"]["spec"]).data
    for source in [*data.train, *(data.validation or []), *(data.test or [])]:
        assert source.columns is not None
        assert (source.columns.prompt, source.columns.completion) == ("message", "intent")
    for row in (row for rows in quickstart_rows.values() for row in rows):
        assert set(row) == COLUMNS, row
        assert all(row.values()), row


def test_each_intent_is_in_each_part_equally_often(quickstart_rows: Parts) -> None:
    counts = {part: Counter(row["intent"] for row in rows) for part, rows in quickstart_rows.items()}
    assert {part: set(counted.values()) for part, counted in counts.items()} == {"train": {25}, "validation": {4}, "test": {6}}
    assert len(set(map(frozenset, counts.values()))) == 1, "the parts have the same intents"
    assert len(counts["train"]) == 12


def test_no_message_of_one_part_is_in_another_in_whatever_spelling(quickstart_rows: Parts) -> None:
    messages = {part: [words(row["message"]) for row in rows] for part, rows in quickstart_rows.items()}
    for part, each in messages.items():
        assert len(set(each)) == len(each), f"{part} has a message twice"
    for left, right in combinations(messages, 2):
        assert not set(messages[left]) & set(messages[right]), f"{left} and {right} share a message"


def test_every_test_row_is_answered_and_no_intent_is_cut(quickstart_documents: Documents, quickstart_rows: Parts) -> None:
    spec = FineTuneJobSpec.model_validate(quickstart_documents["FineTuneJob"]["spec"])
    assert spec.evaluation is not None
    assert spec.evaluation.generation is not None
    assert spec.evaluation.generation.samples >= len(quickstart_rows["test"])
    assert max(len(row["intent"].split()) for row in quickstart_rows["test"]) * 2 <= spec.evaluation.generation.max_new_tokens


def test_test_rows_are_from_the_test_set_and_the_others_from_the_training_set(quickstart_rows: Parts, banking77: Path) -> None:
    published = {name: (banking77 / f"{name}.csv").read_text(encoding="utf-8") for name in ("train", "test")}
    for part, rows in quickstart_rows.items():
        text = published["test" if part == "test" else "train"]
        normalized = " ".join(text.replace('""', '"').split())
        assert all(row["message"] in normalized for row in rows)


def test_the_rows_are_those_that_the_script_chooses(script: ModuleType, banking77: Path) -> None:
    sample = (SAMPLES / "quickstart.yaml").read_text(encoding="utf-8")
    assert script.with_rows(sample, script.choose(banking77)) == sample


def test_new_rows_leave_all_else_in_the_sample_as_it_was(script: ModuleType, quickstart_documents: Documents) -> None:
    sample = (SAMPLES / "quickstart.yaml").read_text(encoding="utf-8")
    row = script.Row('Say "no", please: # 1', "age limit")
    changed = list(yaml.safe_load_all(script.with_rows(sample, {"train": [row]})))
    config_map, *others = changed
    assert config_map["data"] == {"train.csv": 'message,intent\n"Say ""no"", please: # 1",age limit\n'}
    assert others == [quickstart_documents["PersistentVolumeClaim"], quickstart_documents["FineTuneJob"]]


def test_sample_and_notice_name_source_and_license() -> None:
    for file in ("NOTICE", "quickstart.yaml"):
        text = (SAMPLES / file).read_text(encoding="utf-8")
        assert all(name in text for name in ("banking77", "Casanueva", "PolyAI-LDN/task-specific-datasets", "CC BY 4.0")), file
