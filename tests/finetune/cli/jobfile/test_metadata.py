"""Labels, annotations and the other metadata are judged as the API server judges them (see tests/integration/test_job_files.py)."""

import re
from typing import Any

import pytest

from finetune.cli.jobfile.metadata import metadata_problems

LABEL = "use at most 63 letters, digits, '-', '_' and '.', a letter or digit first and last; other strings go into annotations"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"labels": None, "annotations": None, "finalizers": None},
        {"labels": {"kueue.x-k8s.io/queue-name": "team-a", "a": "", "b": None, "A_b.c": "x" * 63}},
        {"annotations": {"A/b": "any text: 1!", "c": None}},
        {"namespace": "team-1", "finalizers": ["example.com/keep"], "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 3},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b", "controller": True}]},
    ],
    ids=["nothing", "nulls", "labels", "annotations", "others", "owner"],
)
def test_what_the_api_server_takes_is_taken(metadata: dict[str, Any]) -> None:
    assert metadata_problems(metadata) == []


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({"labels": {"team": "a / b"}}, f"metadata.labels[team]: 'a / b' is not the value of a label; {LABEL}", id="value"),
        pytest.param({"labels": {"team": "x" * 64}}, f"metadata.labels[team]: '{'x' * 64}' has 64 characters; {LABEL}", id="long value"),
        pytest.param({"labels": {"bad key!": "x"}}, "metadata.labels[bad key!]: 'bad key!' is not the name of a label; write", id="key"),
        pytest.param({"labels": {"A/b": "x"}}, "metadata.labels[A/b]: 'A/b' is not the name of a label", id="domain in capitals"),
        pytest.param({"labels": {"version": 1.5}}, "metadata.labels[version]: 1.5 is not a string; put quotes around it", id="number"),
        pytest.param({"labels": {"debug": True}}, "metadata.labels[debug]: true is not a string; put quotes around it; yes", id="flag"),
        pytest.param(
            {"labels": {"delta": -1}}, "metadata.labels[delta]: -1 is not a string; give a string", id="number that no quotes fix"
        ),
        pytest.param({"labels": ["a"]}, 'metadata.labels: ["a"] is not an object (name: value); give names with strings', id="list"),
        pytest.param({"annotations": {"a": "x" * 262144}}, "metadata.annotations: have 262145 bytes in total; keep", id="size"),
        pytest.param({"namespace": "Team"}, "metadata.namespace: 'Team' is not the name of a namespace; use at most 63", id="namespace"),
        pytest.param({"finalizers": ["a b"]}, "metadata.finalizers[0]: 'a b' is not the name of a finalizer", id="finalizer"),
        pytest.param({"ownerReferences": [{"kind": "Pod"}]}, "metadata.ownerReferences[0].apiVersion: is missing", id="owner"),
        pytest.param({"creationTimestamp": "yesterday"}, "metadata.creationTimestamp: 'yesterday' is not a time; leave it out", id="time"),
        pytest.param({"label": {}}, "metadata.label: there is no such field; did you mean labels?", id="misspelled"),
    ],
)
def test_what_the_api_server_refuses_is_refused_in_words(metadata: dict[str, Any], expected: str) -> None:
    assert str(metadata_problems(metadata)[0]).startswith(expected)


@pytest.mark.parametrize("field", ["uids", "managed", "gen", "<<", "selfLinks"])
def test_advice_never_names_a_field_that_only_the_server_writes(field: str) -> None:
    [problem] = metadata_problems({field: "x"})
    named = set(re.findall(r"\w+", problem.fix)) - {"did", "you", "mean", "known", "here"}
    assert named <= {"name", "namespace", "labels", "annotations"}
