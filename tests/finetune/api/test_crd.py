"""The definition of FineTuneJob and its committed copies."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from finetune.api import crd
from finetune.api.spec import FineTuneJobSpec
from finetune.system.generated import drifted
from tests.builders import wire_spec
from tests.finetune.api.malformed import MALFORMED, Malformed


def schema_of(path: str) -> dict[str, Any]:
    node = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in path.split("."):
        node = node["items"] if part == "[]" else node["properties"][part]
    return dict(node)


def rules_of(path: str) -> list[dict[str, str]]:
    return list(schema_of(path).get("x-kubernetes-validations", []))


def nodes(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for item in node for found in nodes(item)]
    return [node, *(found for value in node.values() for found in nodes(value))] if isinstance(node, dict) else []


def test_the_committed_copies_are_those_that_the_models_give() -> None:
    assert drifted(crd.copies()) == []


def test_check_names_every_copy_that_has_drifted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--write", "--root", str(tmp_path)]) == 0
    assert crd.main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / crd.CHART_TEMPLATE).write_text("something else")
    (tmp_path / crd.MANIFEST).unlink()

    assert crd.main(["--check", "--root", str(tmp_path)]) == 1

    complaint = capsys.readouterr().err
    assert str(crd.CHART_TEMPLATE) in complaint
    assert str(crd.MANIFEST) in complaint
    assert "--write" in complaint


def test_printed_is_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main([]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == crd.definition()


def test_helm_gives_the_definition_labels_and_annotations_and_sees_no_template_in_its_texts() -> None:
    text = crd.chart_text().removeprefix(crd.CHART_BEGIN).removesuffix(crd.CHART_END)
    before, after = text.split(crd.CHART_METADATA)
    assert before.splitlines()[-2:] == ["metadata:", f"  name: {crd.definition()['metadata']['name']}"]
    text = before + after
    assert text.count("{{") == text.count('{{ "{{" }}') * 2


def test_the_schema_has_nothing_that_a_structural_schema_refuses() -> None:
    schema = crd.definition()["spec"]["versions"][0]["schema"]
    forbidden = {"$ref", "anyOf", "allOf", "oneOf", "const", "discriminator", "title", "$defs"}
    assert [key for node in nodes(schema) for key in node if key in forbidden and not isinstance(node[key], dict)] == []
    assert "additionalProperties: false" not in crd.manifest_text()
    assert "null" not in json.dumps([node.get("default", 0) for node in nodes(schema)])


def test_defaults_are_scalars_only() -> None:
    schema = crd.definition()["spec"]["versions"][0]["schema"]
    defaults = [node["default"] for node in nodes(schema) if "default" in node and "type" in node]
    assert defaults
    assert all(isinstance(default, (str, int, float, bool)) for default in defaults)


def test_texts_and_lists_of_the_spec_are_bounded_so_that_rules_have_a_price() -> None:
    schema = schema_of("spec")
    unbounded = [
        node.get("description")
        for node in nodes(schema)
        if (node.get("type") == "string" and not ({"maxLength", "enum"} & set(node)))
        or (node.get("type") == "array" and "maxItems" not in node)
    ]
    assert unbounded == []


def test_every_section_but_the_run_policy_is_immutable_by_a_rule_that_names_it() -> None:
    by_field = {rule["fieldPath"]: rule for rule in rules_of("spec") if "oldSelf" in rule["rule"] and rule["fieldPath"] != ".runPolicy"}
    sections = set(schema_of("spec")["properties"]) - {"runPolicy"}
    assert set(by_field) == {f".{section}" for section in sections}
    assert by_field[".training"]["message"].startswith("training: cannot be changed once the job exists")


def test_a_rule_stands_beside_the_object_that_it_guards() -> None:
    assert "training: give exactly one of epochs, maxSteps" in [rule["message"] for rule in rules_of("spec.training")]
    assert rules_of("spec.data.train.[]") == rules_of("spec.data.test.[]")
    assert "self.path" in rules_of("spec.output.persistentVolumeClaim")[0]["rule"]


@pytest.mark.parametrize(
    ("path", "keys"), [("status.conditions", ["type"]), ("status.attempts", ["number"]), ("status.checkpoints", ["step"])]
)
def test_lists_of_the_status_are_maps(path: str, keys: list[str]) -> None:
    assert schema_of(path)["x-kubernetes-list-map-keys"] == keys
    assert set(keys) <= set(schema_of(f"{path}.[]")["required"])


def test_columns_are_those_that_a_user_watches() -> None:
    version = crd.definition()["spec"]["versions"][0]
    names = [column["name"].upper() for column in version["additionalPrinterColumns"]]
    assert names == ["PHASE", "STEP", "PROGRESS", "ETA", "SCORE", "ATTEMPT", "AGE", "REASON"]
    assert version["subresources"] == {"status": {}}
    for column in version["additionalPrinterColumns"]:
        if column["name"] == "Age":
            continue
        schema_of(column["jsonPath"].removeprefix("."))


def test_a_field_without_a_description_of_its_own_keeps_that_of_its_kind() -> None:
    assert schema_of("spec.training.learningRate")["description"] == "Peak learning rate."
    assert schema_of("spec.training.learningRate")["exclusiveMinimum"] is True


@pytest.mark.parametrize("malformed", [case for case in MALFORMED if not case.by_name], ids=lambda case: case.name)
def test_the_models_refuse_what_the_api_server_refuses(malformed: Malformed) -> None:
    with pytest.raises(ValidationError):
        FineTuneJobSpec.model_validate(malformed.job["spec"])


def test_the_models_take_what_every_malformed_job_was_made_from() -> None:
    assert FineTuneJobSpec.model_validate(wire_spec()).to_wire()["training"]["learningRate"] == 2e-4
