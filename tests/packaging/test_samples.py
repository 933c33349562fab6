"""Every sample is a job that controller and command accept, and names only what its comments say how to create."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.api.spec import API_VERSION, KIND, FineTuneJobSpec
from tests.packaging.installed import Cluster
from tests.repository import REPOSITORY

SAMPLES = sorted((REPOSITORY / "manifests" / "samples").glob("*.yaml"))


def documents(sample: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(sample.read_text()))


def job(sample: Path) -> dict[str, Any]:
    [found] = [document for document in documents(sample) if document["kind"] == KIND]
    return found


def test_there_are_samples() -> None:
    assert {sample.stem for sample in SAMPLES} >= {"quickstart", "lora-gpu", "language-modeling"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_job_is_valid(sample: Path) -> None:
    assert job(sample)["apiVersion"] == API_VERSION
    FineTuneJobSpec.model_validate(job(sample)["spec"])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_claim_for_the_output_comes_with_the_job_and_outlives_it(sample: Path) -> None:
    claims = {document["metadata"]["name"]: document for document in documents(sample) if document["kind"] == "PersistentVolumeClaim"}
    claim = claims[job(sample)["spec"]["output"]["persistentVolumeClaim"]["claimName"]]
    assert "ownerReferences" not in claim["metadata"]
    assert "storageClassName" not in claim["spec"], "the cluster's default class is meant"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_comment_at_the_top_tells_how_to_apply_the_sample(sample: Path) -> None:
    assert f"kubectl apply -f manifests/samples/{sample.name}" in sample.read_text().partition("apiVersion")[0]


@pytest.mark.integration
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_api_server_takes_the_sample_under_strict_validation(sample: Path, cluster: Cluster) -> None:
    answer = cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", str(sample))
    assert f"finetunejob.finetune.dev/{job(sample)['metadata']['name']} serverside-applied" in answer
