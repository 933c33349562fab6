"""Conversion of pydantic models into structural schemas."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from finetune.api.base import Rule, WireModel
from finetune.api.schema import SchemaError, structural_schema


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Part(WireModel):
    """A part."""

    weight: Annotated[float, Field(gt=0, lt=10)] = 1.0
    rules = (Rule("self.weight != 3.0", lambda part: part.weight != 3, "weight: is not 3"),)


class Whole(WireModel):
    """A whole."""

    color: Color = Color.RED
    count: int | None = None
    only: Literal["this"] = "this"
    part: Part | None = Field(None, description="The part.")
    parts: list[Part] | None = Field(None, max_length=3)
    labels: dict[str, str] | None = None
    when: datetime | None = None


def test_optional_members_lose_null_and_keep_their_kind() -> None:
    assert structural_schema(Whole)["properties"]["count"] == {"type": "integer", "format": "int64"}


def test_enumerations_and_single_values_become_enum_with_a_default() -> None:
    properties = structural_schema(Whole)["properties"]
    assert properties["color"] == {"type": "string", "enum": ["red", "blue"], "default": "red"}
    assert properties["only"]["enum"] == ["this"]


def test_exclusive_bounds_become_a_bound_and_a_flag() -> None:
    weight = structural_schema(Part)["properties"]["weight"]
    assert weight == {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 10, "exclusiveMaximum": True, "default": 1.0}


def test_a_model_is_written_out_with_its_rules_wherever_it_is_used() -> None:
    properties = structural_schema(Whole)["properties"]
    rule = {"rule": "self.weight != 3.0", "message": "weight: is not 3"}
    assert properties["part"]["x-kubernetes-validations"] == [rule]
    assert properties["part"]["description"] == "The part."
    assert properties["parts"]["items"]["x-kubernetes-validations"] == [rule]
    assert properties["parts"]["maxItems"] == 3


def test_maps_and_times_keep_their_form() -> None:
    properties = structural_schema(Whole)["properties"]
    assert properties["labels"] == {"type": "object", "additionalProperties": {"type": "string"}}
    assert properties["when"] == {"type": "string", "format": "date-time"}


class Union(WireModel):
    """Two kinds in one."""

    value: int | str


class Anything(WireModel):
    """No form at all."""

    value: dict[str, Any]


class WithObjectDefault(WireModel):
    """A default that the schema cannot hold."""

    part: Part = Part()


class Stranger(BaseModel):
    """Not of the contract."""


class WithStranger(WireModel):
    """Has one."""

    stranger: Stranger


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Union, "Union.value: a union of 2 types"),
        (WithObjectDefault, "WithObjectDefault.part: defaults of objects"),
        (WithStranger, "Stranger is not a WireModel"),
        (Anything, "Anything.value: an object of anything"),
    ],
    ids=["union", "object default", "foreign model", "free form"],
)
def test_what_has_no_structural_form_is_refused_by_name(model: type[WireModel], says: str) -> None:
    with pytest.raises(SchemaError, match=says.replace("[", r"\[")):
        structural_schema(model)
