"""Two lineages differ by the first field that is not the same."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import Field

from finetune.api.base import WireModel
from finetune.api.lineage import differing_field
from finetune.api.trainconfig import LINEAGE_FIELDS, TrainConfig
from tests.builders import train_config


@pytest.mark.parametrize(
    ("recorded", "wanted", "field"),
    [
        pytest.param({"task": "chat"}, {"task": "chat"}, None, id="equal"),
        pytest.param({"task": "chat"}, {"task": "chat", "augmentation": None}, None, id="absent-equals-null"),
        pytest.param({"training": {"seed": 1}}, {"training": {"seed": 2}}, "training.seed", id="nested"),
        pytest.param({"training": {"seed": 1, "epochs": 1}}, {"training": {"seed": 1}}, "training.epochs", id="removed"),
        pytest.param({"training": {"seed": 1}}, {"training": {"seed": 1, "epochs": 1}}, "training.epochs", id="added"),
        pytest.param({"data": {"train": [{"path": "/a"}]}}, {"data": {"train": [{"path": "/b"}]}}, "data.train[0].path", id="list"),
        pytest.param({"data": {"train": [1]}}, {"data": {"train": [1, 2]}}, "data.train", id="list-length"),
        pytest.param({"training": {"seed": 1}}, {"training": {"seed": 1, "groupByLength": False}}, None, id="default-of-a-new-field"),
        pytest.param({"training": {}}, {"training": {"groupByLength": True}}, "training.groupByLength", id="a-new-field-that-is-used"),
        pytest.param({"training": {"compile": True}}, {"training": {"compile": False}}, "training.compile", id="changed-to-the-default"),
        pytest.param({"task": "chat", "rows": "digest"}, {"task": "chat"}, None, id="record-holds-more"),
    ],
)
def test_the_first_differing_field_is_named(recorded: dict[str, Any], wanted: dict[str, Any], field: str | None) -> None:
    assert differing_field(recorded, wanted) == field


def test_a_record_that_lacks_every_default_is_of_the_same_run_until_one_of_them_is_changed() -> None:
    config = train_config(evaluation={"generation": {"samples": 7}}, regularization={"earlyStopping": {"patience": 2}})
    given = config.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    record = {name: value for name, value in given.items() if name in config.lineage()}
    assert len(str(record)) < len(str(config.lineage())) / 2
    for source in (record["model"], *record["data"]["train"]):
        del source["path"]

    assert differing_field(record, config.lineage()) is None
    changed = config.changed(training=config.training.changed(packing="never")).lineage()
    assert differing_field(record, changed) == "training.packing"


def ambiguous(model: type[WireModel], names: tuple[str, ...] | None = None) -> Iterator[str]:
    """Yield the fields, at any depth, whose absence from a record does not say one value."""
    for name, field in model.model_fields.items():
        if names is not None and name not in names:
            continue
        inner = tuple(parts_of(field.annotation))
        nullable = type(None) in inner and not field.is_required() and field.default is not None
        if nullable or field.default_factory is not None:
            yield f"{model.__name__}.{name}"
        for part in inner:
            if isinstance(part, type) and issubclass(part, WireModel):
                yield from ambiguous(part)


def parts_of(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from parts_of(inner)


class Ambiguous(WireModel):
    plain: int = 1
    optional: int | None = None
    required: int | None
    nullable: int | None = 1
    made: list[int] = Field(default_factory=list)


class Outer(WireModel):
    inner: list[Ambiguous] | None = None


def test_a_field_that_a_record_lacks_has_one_default_and_null_is_no_other_value() -> None:
    assert list(ambiguous(TrainConfig, LINEAGE_FIELDS)) == []
    assert list(ambiguous(Outer)) == ["Ambiguous.nullable", "Ambiguous.made"]


def test_what_other_runs_measure_is_no_part_of_a_run() -> None:
    plain, measured = train_config(), train_config(evaluation__ablations=["data"])
    assert differing_field(plain.lineage(), measured.lineage()) is None
    assert plain.lineage_digest() == measured.lineage_digest()
    assert differing_field(plain.lineage(), train_config(data__maxTrainRows=9).lineage()) == "data.maxTrainRows"


@pytest.mark.parametrize(
    ("recorded", "wanted", "differs"),
    [
        (False, "auto", False),
        (False, "never", False),
        (False, "always", True),
        (True, "always", False),
        (True, "auto", True),
        (True, "never", True),
    ],
)
def test_recomputation_as_earlier_versions_recorded_it_is_that_of_today(recorded: bool, wanted: str, differs: bool) -> None:
    before, now = ({"training": {"epochs": 1, "gradientCheckpointing": value}} for value in (recorded, wanted))
    assert differing_field(before, now) == ("training.gradientCheckpointing" if differs else None)
    assert before["training"]["gradientCheckpointing"] is recorded
