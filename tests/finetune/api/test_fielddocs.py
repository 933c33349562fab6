"""The documentation of a field says what the schema enforces, wherever the field is asked for."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from finetune.api.base import WireModel
from finetune.api.fielddocs import FieldDoc, UnknownFieldError, document_resource, find
from finetune.api.status import FineTuneJobStatus

RESOURCE = document_resource()


def _models_below(kind: Any) -> Iterator[type[WireModel]]:
    """Yield the models that an annotation holds, and those that their fields hold."""
    if isinstance(kind, type) and issubclass(kind, WireModel):
        yield kind
        for field in kind.model_fields.values():
            yield from _models_below(field.annotation)
    for argument in get_args(kind):
        yield from _models_below(argument)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("spec.training.learningRate", "spec.training.learningRate"),
        ("training.learningRate", "spec.training.learningRate"),
        ("ftj.spec.training", "spec.training"),
        ("finetunejob.status.progress", "status.progress"),
        ("data.train", "spec.data.train[]"),
        ("data.train[0].columns", "spec.data.train[].columns"),
        ("data.train[].columns.prompt", "spec.data.train[].columns.prompt"),
        ("", ""),
        ("ftj", ""),
    ],
)
def test_a_field_is_found_with_and_without_what_stands_before_it(asked: str, path: str) -> None:
    assert find(RESOURCE, asked).path == path


def test_an_unknown_field_names_the_last_one_that_exists() -> None:
    with pytest.raises(UnknownFieldError) as raised:
        find(RESOURCE, "spec.data.train.colums")
    assert (raised.value.parent.path, raised.value.name) == ("spec.data.train[]", "colums")


@pytest.mark.parametrize(
    ("path", "kind", "default", "allowed"),
    [
        ("training.learningRate", "number", "0.0002", "more than 0, at most 1"),
        ("training.seed", "integer", "42", "at least 0, at most 2147483647"),
        ("training.groupByLength", "boolean", "false", ""),
        ("training.gradientCheckpointing", "string", "auto", "auto | always | never"),
        ("training.scheduler", "string", "cosine", "cosine | linear | constant | warmupStableDecay"),
        ("method.lora.dropout", "number", "0", "at least 0, less than 1"),
        ("distributed.deepspeed.zeroStage", "integer", "2", "0 | 1 | 2 | 3"),
        ("output.export", "[]string", "", "1 to 2 entries, each adapter | merged"),
        ("data.train", "[]Object", "", "1 to 64 entries"),
        ("resources.nodeSelector", "map[string]string", "", "at most 32 entries"),
        ("status.progress.lastReportTime", "string", "", "a time as in RFC 3339"),
    ],
)
def test_type_default_and_limits_are_those_of_the_schema(path: str, kind: str, default: str, allowed: str) -> None:
    field = find(RESOURCE, path)
    assert (field.kind, field.shown_default(), field.allowed) == (kind, default, allowed)


@pytest.mark.parametrize(
    ("path", "need"),
    [
        ("training", "required"),
        ("training.seed", ""),
        ("output", "required on a cluster"),
        ("output.persistentVolumeClaim", "required on a cluster"),
        ("output.persistentVolumeClaim.claimName", "required"),
        ("", ""),
    ],
)
def test_a_field_is_marked_where_it_is_required(path: str, need: str) -> None:
    assert find(RESOURCE, path).need == need


def test_rules_between_members_are_listed_without_those_of_changes() -> None:
    one_length, _, _, padded, grouped = find(RESOURCE, "training").rules
    assert one_length == "training: give exactly one of epochs, maxSteps"
    assert padded.startswith("training.compile: packed rows")
    assert grouped.startswith("training.groupByLength: packed rows")
    assert find(RESOURCE, "spec").rules
    assert not any("cannot be changed" in rule for rule in find(RESOURCE, "spec").rules)


def test_every_field_of_the_spec_is_described() -> None:
    spec = find(RESOURCE, "spec")
    undescribed = [field.path for field in spec.below() if not field.description]
    assert undescribed == []


def test_every_field_of_the_status_is_described_where_it_stands_and_not_by_its_type_alone() -> None:
    undescribed = [
        f"{model.__name__}.{name}"
        for model in _models_below(FineTuneJobStatus)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert undescribed == []


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("status.progress.etaSeconds", "Seconds"),
        ("status.progress.tokensPerSecond", "per second"),
        ("status.progress.epoch", "1.50"),
        ("status.checkpoints.sizeBytes", "bytes"),
        ("status.metrics.baseline", "wer (errors per reference word)"),
    ],
)
def test_the_description_of_a_figure_has_its_unit(path: str, unit: str) -> None:
    assert unit in find(RESOURCE, path).description


def test_paths_are_unique_and_can_be_asked_for() -> None:
    paths = [field.path for field in RESOURCE.below()]
    assert len(paths) == len(set(paths)) > 100
    assert all(find(RESOURCE, path).path == path for path in paths)


def test_the_default_of_an_empty_text_is_seen() -> None:
    assert FieldDoc("spec.x", "string", default="").shown_default() == '""'
