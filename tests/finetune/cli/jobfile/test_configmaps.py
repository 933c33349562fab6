"""A ConfigMap beside a job is judged as the API server judges it (see tests/integration/test_job_files.py)."""

from typing import Any

import pytest

from finetune.api.errors import BadInputError
from finetune.cli.jobfile.configmaps import read_config_map


def config_map(**changes: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, **changes}


def test_texts_and_bytes_are_read() -> None:
    found = read_config_map(config_map(data={"a": "ü", "b": None}, binaryData={"c": "aGFs\nbG8=\n"}))
    assert (found.name, found.data) == ("rows", {"a": "ü".encode(), "b": b"", "c": b"hallo"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"metadata": {"name": "a..b"}}, "ConfigMap a..b.metadata.name: 'a..b' is not a name that Kubernetes takes", id="name"),
        pytest.param({"metadata": {"name": 1}}, "a ConfigMap.metadata.name: 1 is not a string; put quotes around it", id="number"),
        pytest.param({"metadata": {}}, "a ConfigMap.metadata.name: is missing; name it as the job's", id="no name"),
        pytest.param({"metadata": {"name": "rows", "labels": {"a": "b c"}}}, "ConfigMap rows.metadata.labels[a]: 'b c' is", id="label"),
        pytest.param({"data": {"a/b": "x"}}, "ConfigMap rows.data: 'a/b' is not a key that Kubernetes takes", id="key"),
        pytest.param({"data": {"a": 1}}, "ConfigMap rows.data.a: 1 is not a string; put quotes around it", id="value"),
        pytest.param({"data": {"a": "x"}, "binaryData": {"a": "eA=="}}, "ConfigMap rows.binaryData.a: is in data as well", id="twice"),
        pytest.param({"binaryData": {"a": "?"}}, "ConfigMap rows.binaryData.a: is not base64; put plain text under data", id="base64"),
        pytest.param({"data": {"a": "x" * 1048577}}, "ConfigMap rows: holds 1,048,577 bytes, a ConfigMap takes 1,048,576; put", id="size"),
        pytest.param({"dat": {}}, "ConfigMap rows.dat: there is no such field; did you mean data?", id="field"),
        pytest.param({"apiVersion": "v2"}, "ConfigMap rows.apiVersion: is 'v2'; write v1", id="version"),
        pytest.param({"immutable": "true"}, "ConfigMap rows.immutable: 'true' is not true or false", id="immutable"),
    ],
)
def test_what_the_api_server_refuses_is_refused_in_words(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInputError) as raised:
        read_config_map(config_map(**changes))
    assert str(raised.value).startswith(expected)
