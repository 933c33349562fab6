"""Every field of a job, given odd values, is taken or refused by the definition's schema and by the models alike."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from finetune.api import crd
from finetune.api.spec import KIND, FineTuneJobSpec
from finetune.cli.jobfile.fields import without_nulls
from tests.finetune.api.structural import faults
from tests.repository import REPOSITORY

SAMPLES = sorted((REPOSITORY / "manifests/samples").glob("*.yaml"))
SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
VALUES = [None, "", "x", "X_y\n", "é", "x" * 5000, 0, -1, 7, 1.5, 1e30, 2**40, True, [], [None], ["x"], {}, {"x": 1}]
Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Yield the place of every member and entry below `value`."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield (*at, name)
        yield from places(member, (*at, name))


def variants(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the spec with each member replaced by each value, and with each member removed."""
    for at in places(spec):
        for value in (..., *VALUES):
            changed = copy.deepcopy(spec)
            parent: Any = changed
            for part in at[:-1]:
                parent = parent[part]
            if value is ...:
                del parent[at[-1]]
            else:
                parent[at[-1]] = value
            yield f"{'.'.join(map(str, at))} = {str(value)[:40]!r}", changed


def kinds_of_errors(spec: dict[str, Any]) -> set[str]:
    """Return the kinds of what the models refuse; `value_error` is that of a rule."""
    try:
        FineTuneJobSpec.model_validate_json(json.dumps(without_nulls(spec, FineTuneJobSpec)), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        return {details["type"] for details in error.errors()}
    return set()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_an_odd_value_is_judged_alike_by_schema_and_models(sample: Path) -> None:
    [spec] = [document["spec"] for document in yaml.safe_load_all(sample.read_text()) if document["kind"] == KIND]
    assert kinds_of_errors(spec) == set()
    for what, changed in variants(spec):
        refused, errors = list(faults(changed, SCHEMA)), kinds_of_errors(changed)
        assert errors or not refused, f"{what} is taken by the models: {refused}"
        assert refused or errors <= {"value_error"}, f"{what} is taken by the schema: {errors}"
