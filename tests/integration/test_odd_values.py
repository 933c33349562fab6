"""Every field of a job, given odd values, is taken or refused by the API server and by `finetune` alike."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api import crd
from controller.cli.jobfile import KIND, read_job_file
from controller.cli.problems import BadInputError
from tests.cluster.api import ApiError
from tests.cluster.controlplane import ControlPlane

pytestmark = pytest.mark.integration

SAMPLES = sorted((Path(crd.__file__).parents[2] / "manifests/samples").glob("*.yaml"))
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
JOBS = "/apis/finetune.dev/v1alpha1/namespaces/default/finetunejobs?dryRun=All&fieldValidation=Strict"
REMOVED = object()
VALUES = [REMOVED, None, "", "x", "X_y\n", "x" * 5000, 0, -1, 7, 1.5, 1e30, 2**40, True, [], [None], ["x"], {}, {"x": 1}]


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every member and entry below `value`."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield (*at, name)
        yield from places(member, (*at, name))


def changed(job: dict[str, Any], at: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    copied = copy.deepcopy(job)
    parent: Any = copied["spec"]
    for part in at[:-1]:
        parent = parent[part]
    if value is REMOVED:
        del parent[at[-1]]
    else:
        parent[at[-1]] = value
    return copied


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_an_odd_value_is_judged_alike(control_plane: ControlPlane, tmp_path: Path, sample: Path) -> None:
    control_plane.api.apply(DEFINITION, crd.manifest_text().encode())
    control_plane.api.wait_for(DEFINITION, "Established")
    [job] = [document for document in yaml.safe_load_all(sample.read_text()) if document["kind"] == KIND]
    job["metadata"] = {"name": "bot"}
    differences, path = [], tmp_path / "job.json"
    for at in places(job["spec"]):
        for value in VALUES:
            body = changed(job, at, value)
            output = body["spec"].get("output")
            if output is None or (isinstance(output, dict) and output.get("persistentVolumeClaim") is None):
                continue  # only a cluster needs it
            path.write_text(json.dumps(body))
            theirs, ours = "", ""
            try:
                control_plane.api.request("POST", JOBS, body)
            except ApiError as error:
                theirs = str(error)
            try:
                read_job_file(path)
            except BadInputError as error:
                ours = str(error)
            if bool(theirs) != bool(ours):
                differences.append((at, value if value is not REMOVED else "removed", theirs[:300], ours[:300]))
    assert differences == []
