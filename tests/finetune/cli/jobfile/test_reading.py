"""The job file is read as strictly as the API server reads it, and every mistake is reported."""

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import BadInputError
from finetune.cli.jobfile.reading import read_job_file
from tests.builders import REMOVED
from tests.finetune.cli.builders import CONFIG_MAP, JOB, job, write


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as raised:
        read_job_file(path)
    return str(raised.value)


def test_the_job_and_its_config_maps_are_found_among_other_documents(tmp_path: Path) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}}
    path = write(tmp_path, CONFIG_MAP, claim, secret, JOB)
    path.write_text(f"---\n{path.read_text()}---\n# the end\n")
    found = read_job_file(path)
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
        pytest.param("a: [1", "job.yaml:1:4: is not YAML: [ is not closed", id="broken"),
        pytest.param("kind: FineTuneJob\n\tx: 1", "job.yaml:2:1: is not YAML: the line is indented with a tab; use spaces", id="tab"),
        pytest.param("a: 1\na: 2", "job.yaml:2:1: is not YAML: the key 'a' is given twice", id="key-twice"),
        pytest.param("", "has no document of kind FineTuneJob (it is empty)", id="empty"),
        pytest.param("kind: Pod", "has no document of kind FineTuneJob (it has: Pod)", id="no-job"),
        pytest.param("kind: FinetuneJob", "kind: there is no kind 'FinetuneJob'; write FineTuneJob", id="kind-misspelled"),
        pytest.param('{"prompt": "a"}\n' * 3, "has no document of kind FineTuneJob (it has: a document without a kind)", id="rows"),
        pytest.param('{"kind": "\\ud83d"}', "is not YAML: ", id="half-a-character"),
        pytest.param("task: chat", "has no document of kind FineTuneJob (it has: a document without a kind)", id="a-spec-alone"),
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
    (tmp_path / "job.yaml").write_bytes(b"kind: \xff")
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
        pytest.param({"metadata__labels": {"a": 1}}, "metadata.labels[a]: 1 is not a string; put quotes", id="label-number"),
        pytest.param({"specs": {}}, "specs: there is no such field; remove it, spec is given too", id="top-level-field"),
        pytest.param({"training": {}}, "training: there is no such field; it belongs at spec.training", id="section-outside-the-spec"),
        pytest.param({"labels": {}}, "labels: there is no such field; it belongs at metadata.labels", id="labels-at-the-top"),
        pytest.param({"spec": REMOVED}, "spec: is missing; say there what to fine-tune", id="no-spec"),
        pytest.param(
            {"spec__training__epochs": "3"}, "spec.training.epochs: '3' is not a number; write 3 without quotes", id="quoted-number"
        ),
        pytest.param({"metadata__labels": {"team": "a b"}}, "metadata.labels[team]: 'a b' is not the value of a label; use", id="label"),
        pytest.param({"metadata__name": 12}, "metadata.name: 12 is not a string; give a name that begins with a letter", id="name-number"),
        pytest.param({"status": {"fase": "x"}}, "status.fase: there is no such field; leave the status out", id="status"),
        pytest.param({"spec__unknown": None}, "spec.unknown: there is no such field", id="unknown-field-of-nothing"),
        pytest.param({"spec__task": None}, "spec.task: is missing; add it: What the model learns to do.", id="required-field-of-nothing"),
    ],
)
def test_what_the_api_server_would_refuse_is_refused(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert refusal(write(tmp_path, job(**changes))).startswith(expected)


def test_mistakes_of_metadata_and_spec_are_reported_together(tmp_path: Path) -> None:
    lines = refusal(write(tmp_path, job(apiVersion="v1", metadata__name="A", spec__task="x"))).splitlines()
    assert [line.split(":")[0] for line in lines] == ["apiVersion", "metadata.name", "spec.task"]


@pytest.mark.parametrize(
    ("config_map", "expected"),
    [
        pytest.param({"metadata": {"name": "../up"}}, "'../up' is not a name that Kubernetes takes", id="name-that-leaves-the-folder"),
        pytest.param({"data": {"..": "x"}}, "'..' is not a key that Kubernetes takes", id="key-that-leaves-the-folder"),
        pytest.param({"data": {"key": 1}}, "ConfigMap pairs.data.key: 1 is not a string", id="number"),
        pytest.param({"binaryData": {"key": "?"}}, "ConfigMap pairs.binaryData.key: is not base64", id="base64"),
    ],
)
def test_a_config_map_that_the_api_server_would_refuse_is_refused(tmp_path: Path, config_map: dict[str, Any], expected: str) -> None:
    assert expected in refusal(write(tmp_path, {**CONFIG_MAP, **config_map}, JOB))


def test_a_merge_key_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path, job(spec__data__train=["SOURCES"]))
    merged = "&source {path: a.jsonl, format: jsonl}\n    - {<<: *source, columns: {prompt: question}}"
    path.write_text(path.read_text().replace("SOURCES", merged))
    first, second = read_job_file(path).spec.data.train
    assert (first.path, second.path, second.format, second.columns and second.columns.prompt) == ("a.jsonl", "a.jsonl", "jsonl", "question")


def test_a_whole_number_may_be_written_with_an_exponent_or_a_point(tmp_path: Path) -> None:
    path = write(tmp_path, job(spec__training__maxSequenceLength=1, spec__training__seed=2))
    path.write_text(path.read_text().replace("maxSequenceLength: 1", "maxSequenceLength: 1e3").replace("seed: 2", "seed: 7.0"))
    training = read_job_file(path).spec.training
    assert (training.max_sequence_length, training.seed) == (1000, 7)


def test_a_field_that_is_nothing_has_its_default(tmp_path: Path) -> None:
    spec = read_job_file(write(tmp_path, job(spec__training__learningRate=None, spec__evaluation=None))).spec
    assert (spec.training.learning_rate, spec.evaluation) == (2e-4, None)


@pytest.mark.parametrize("output", [REMOVED, None, {"export": ["merged"]}], ids=["left-out", "nothing", "export-alone"])
def test_a_job_without_a_claim_for_its_output_runs_here_and_is_known_to_need_one_on_a_cluster(tmp_path: Path, output: Any) -> None:
    found = read_job_file(write(tmp_path, job(spec__output=output)))
    assert not found.names_output
    assert found.spec.output.export == (["merged"] if isinstance(output, dict) else None)


def test_a_mistake_in_an_output_without_a_claim_is_reported(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, job(spec__output={"exports": ["merged"]}))) == (
        "spec.output.exports: there is no such field; did you mean export?"
    )


def test_a_generated_name_stands_for_the_name_and_leaves_room_for_its_end(tmp_path: Path) -> None:
    assert read_job_file(write(tmp_path, job(metadata={"generateName": "bot-"}))).name == "bot"
    assert refusal(write(tmp_path, job(metadata={"generateName": "b" * 36}))).endswith("has 36 characters; use at most 35")


def test_a_document_that_kubectl_would_stumble_over_is_named(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, JOB, {"kind": "Pod"})).endswith("document 2: has no apiVersion; add it, or take the document away")


def test_a_config_map_that_a_later_one_replaces_is_named(tmp_path: Path) -> None:
    found = read_job_file(write(tmp_path, CONFIG_MAP, CONFIG_MAP, JOB))
    assert found.ignored == ("the first ConfigMap pairs, a later one replaces it",)


def test_a_config_map_of_another_namespace_is_not_the_jobs(tmp_path: Path) -> None:
    elsewhere = {**CONFIG_MAP, "metadata": {"name": "pairs", "namespace": "b"}}
    found = read_job_file(write(tmp_path, elsewhere, job(metadata__namespace="a")))
    assert (found.config_maps, found.ignored) == ({}, ("ConfigMap pairs, of another namespace than the job's",))
    assert read_job_file(write(tmp_path, elsewhere, JOB)).config_maps.keys() == {"pairs"}


def test_a_status_is_said_to_be_the_controllers(tmp_path: Path) -> None:
    assert read_job_file(write(tmp_path, job(status={"phase": "Running"}))).ignored == ("status, which the controller writes",)


@given(st.text(max_size=200))
def test_whatever_the_file_holds_the_answer_is_a_job_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="ignore")
    assert str(path) in refusal(path) or refusal(path)
