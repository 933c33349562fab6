"""The quickstart's job file, read once for the tests of its job and of its rows."""

import csv
import io
from typing import Any

import pytest
import yaml

from tests.repository import REPOSITORY

QUICKSTART = REPOSITORY / "manifests" / "samples" / "quickstart.yaml"


@pytest.fixture(scope="session")
def quickstart_documents() -> dict[str, dict[str, Any]]:
    """Documents of the quickstart's job file by kind."""
    documents = list(yaml.safe_load_all(QUICKSTART.read_text(encoding="utf-8")))
    by_kind = {document["kind"]: document for document in documents}
    assert len(documents) == len(by_kind) == 3
    return by_kind


@pytest.fixture(scope="session")
def quickstart_rows(quickstart_documents: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Rows of the quickstart by part: train, validation, test."""
    data: dict[str, str] = quickstart_documents["ConfigMap"]["data"]
    return {key.removesuffix(".csv"): list(csv.DictReader(io.StringIO(text))) for key, text in data.items()}
