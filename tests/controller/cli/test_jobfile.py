"""The job file is read as strictly as the API server reads it, and every mistake is told."""

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.cli.jobfile import read_job_file
from controller.cli.problems import BadInputError
from tests.controller.cli.builders import CONFIG_MAP, JOB, REMOVED, job, write


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as raised:
        read_job_file(path)
    return str(raised.value)


def test_the_job_and_its_config_maps_are_found_among_other_documents(tmp_path: Path) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}}
    found = read_job_file(write(tmp_path, CONFIG_MAP, claim, secret, None, JOB))
    assert (found.name, found.spec.training.epochs) == ("support-bot", 1)
    assert found.config_maps["pairs"].data == {"train.jsonl": b'{"a": 1}\n'}
    assert found.ignored == ("Secret token",)


def test_binary_data_of_a_config_map_is_decoded(tmp_path: Path) -> None:
    config_map = {**CONFIG_MAP, "binaryData": {"rows.parquet": base64.b64encode(b"\x00\xff").decode()}}
    assert read_job_file(write(tmp_path, config_map, JOB)).config_maps["pairs"].data["rows.parquet"] == b"\x00\xff"


def test_a_number_in_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, job(spec__training__learningRate=0.5))
    path.write_text(path.read_text().replace("learningRate: 0.5", "learningRate: 2e-4"))
    assert read_job_file(path).spec.training.learning_rate == 2e-4


def test_a_date_without_quotes_is_a_text(tmp_path: Path) -> None:
    path = write(tmp_path, job(spec__model__revision="x"))
    path.write_text(path.read_text().replace("revision: x", "revision: 2026-01-02"))
    assert read_job_file(path).spec.model.revision == "2026-01-02"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [1", "job.yaml:1:6: is not YAML: ", id="broken"),
        pytest.param("kind: FineTuneJob\n\tx: 1", "job.yaml:2:1: is not YAML: ", id="tab"),
        pytest.param("a: 1\na: 2", "job.yaml:2:1: is not YAML: the key 'a' stands twice", id="key-twice"),
        pytest.param("", "has no document of kind FineTuneJob (it is empty)", id="empty"),
        pytest.param("kind: Pod", "has no document of kind FineTuneJob (it has: Pod)", id="no-job"),
        pytest.param("kind: FinetuneJob", "kind: there is no kind 'FinetuneJob'; write FineTuneJob", id="kind-misspelt"),
        pytest.param("- 1", "document 1 is not an object", id="a-list"),
        pytest.param(
            "{kind: FineTuneJob, metadata: {name: a}}\n---\n{kind: FineTuneJob, metadata: {name: b}}",
            "has 2 documents of kind FineTuneJob (a, b); keep one job in a file",
            id="two-jobs",
        ),
    ],
)
def test_a_file_that_holds_no_single_job_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert expected in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml").startswith(f"{tmp_path}/none.yaml: there is no such file; ")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in refusal(tmp_path / "job.yaml")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"apiVersion": "finetune.dev/v1"}, "apiVersion: is 'finetune.dev/v1'; write finetune.dev/v1alpha1", id="version"),
        pytest.param({"apiVersion": REMOVED}, "apiVersion: is missing; write finetune.dev/v1alpha1", id="no-version"),
        pytest.param({"metadata": REMOVED}, "metadata: is missing; give it a name", id="no-metadata"),
        pytest.param({"metadata__name": REMOVED}, "metadata.name: is missing; give the job a name", id="no-name"),
        pytest.param({"metadata__name": "a" * 41}, f"metadata.name: '{'a' * 41}' has 41 characters; use at most 40", id="long-name"),
        pytest.param({"metadata__name": "Bot_1"}, "metadata.name: 'Bot_1' is not a DNS-1035 label; use lower-case", id="name-form"),
        pytest.param({"metadata__label": {}}, "metadata.label: there is no such field; did you mean labels?", id="metadata-field"),
        pytest.param({"metadata__labels": {"a": 1}}, "metadata.labels: is not an object of texts; put quotes", id="label-number"),
        pytest.param({"specs": {}}, "specs: there is no such field; did you mean spec?", id="top-level-field"),
        pytest.param({"spec": REMOVED}, "spec: is missing; say there what to fine-tune", id="no-spec"),
        pytest.param({"spec__training__epochs": "3"}, "spec.training.epochs: '3' is not a number; give a number", id="quoted-number"),
        pytest.param({"spec__training__gradientClipping": float("inf")}, "spec: holds .inf or .nan, which no field takes", id="infinite"),
    ],
)
def test_what_the_api_server_would_refuse_is_refused(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert refusal(write(tmp_path, job(**changes))).startswith(expected)


def test_mistakes_of_metadata_and_spec_are_told_together(tmp_path: Path) -> None:
    lines = refusal(write(tmp_path, job(apiVersion="v1", metadata__name="A", spec__task="x"))).splitlines()
    assert [line.split(":")[0] for line in lines] == ["apiVersion", "metadata.name", "spec.task"]


@pytest.mark.parametrize(
    ("config_map", "expected"),
    [
        pytest.param({"metadata": {"name": "../up"}}, "'../up' is not a name that Kubernetes takes", id="name-that-leaves-the-folder"),
        pytest.param({"data": {"..": "x"}}, "'..' is not a key that Kubernetes takes", id="key-that-leaves-the-folder"),
        pytest.param({"data": {"n": 1}}, "ConfigMap pairs.data.n: is not a text", id="number"),
        pytest.param({"binaryData": {"n": "?"}}, "ConfigMap pairs.binaryData.n: is not base64", id="base64"),
    ],
)
def test_a_config_map_that_the_api_server_would_refuse_is_refused(tmp_path: Path, config_map: dict[str, Any], expected: str) -> None:
    assert expected in refusal(write(tmp_path, {**CONFIG_MAP, **config_map}, JOB))


@given(st.text(max_size=200))
def test_whatever_the_file_holds_the_answer_is_a_job_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="ignore")
    assert str(path) in refusal(path) or refusal(path)
