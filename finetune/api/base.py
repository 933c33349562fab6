"""What every model of the contract shares: camelCase on the wire, unknown fields refused, rules written once.

A rule that spans fields is stated as a `Rule`: its CEL text goes into the CRD beside the object that it guards, its Python
form is checked when the model is built, so that kubectl and the laptop refuse the same file with the same words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Rule:
    """One condition over an object: `cel` for the API server, `holds` for Python, `message` for the user."""

    cel: str
    holds: Callable[[Any], bool]
    message: str


class WireModel(BaseModel):
    """Base of all wire models: snake_case in Python, camelCase in YAML and JSON, frozen, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in type(self).rules:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self

    def changed(self, **fields: Any) -> Self:
        """Return the object with these members changed; unlike `model_copy`, it raises ValidationError for what does not fit."""
        return type(self).model_validate(dict(self) | fields)

    def to_wire(self) -> dict[str, Any]:
        """Return the object as it is in YAML: camelCase names, no members that are unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def exactly_one(*names: str, what: str) -> Rule:
    """Return the rule that exactly one of the members `names` (Python names) is given; `what` names the object."""
    aliases = [to_camel(name) for name in names]
    cel = "[" + ", ".join(f"has(self.{alias})" for alias in aliases) + "].filter(given, given).size() == 1"

    def holds(value: Any) -> bool:
        return sum(getattr(value, name) is not None for name in names) == 1

    return Rule(cel, holds, f"{what}: give exactly one of {', '.join(aliases)}")


def at_most_one(*names: str, what: str) -> Rule:
    """Return the rule that at most one of the members `names` (Python names) is given; `what` names the object."""
    aliases = [to_camel(name) for name in names]
    cel = "[" + ", ".join(f"has(self.{alias})" for alias in aliases) + "].filter(given, given).size() <= 1"

    def holds(value: Any) -> bool:
        return sum(getattr(value, name) is not None for name in names) <= 1

    return Rule(cel, holds, f"{what}: give only one of {', '.join(aliases)}")
