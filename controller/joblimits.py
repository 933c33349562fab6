"""What jobs may ask for, as the administrator sets it: for all namespaces, and otherwise for some.

The chart's values under `jobs`. What follows from it for a job is decided in controller.job.limits. Pure.
Test: tests/controller/test_joblimits.py.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

PATTERN = re.compile(r"[-A-Za-z0-9._/:*]+")
"""A name, in which * matches any text."""


def from_list(value: Any) -> Any:
    """Return the parts of a text that are separated by commas."""
    return tuple(part for part in (piece.strip() for piece in value.split(",")) if part) if isinstance(value, str) else value


def blank_is_none(value: Any) -> Any:
    """Return None for an empty text, as a chart gives it for what is not set."""
    return None if value == "" else value


def _only_stars(value: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [pattern for pattern in value if not PATTERN.fullmatch(pattern)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: write names, in which only * matches any text")
    return value


Patterns = Annotated[tuple[str, ...], BeforeValidator(from_list), AfterValidator(_only_stars)]
Most = Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(blank_is_none)]


class JobLimits(BaseModel):
    """What the jobs of a namespace may ask for; of those of a single namespace, what is left out is as for all."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid")

    allowed_priority_classes: Patterns = ("*",)
    allowed_toleration_keys: Patterns = ("*",)
    allowed_token_secrets: Patterns = ("*",)
    allowed_models: Patterns = ("*",)
    max_workers: Most = None
    max_gpus: Most = None

    def but(self, other: "JobLimits | None") -> "JobLimits":
        """Return these limits with what `other` sets."""
        return self if other is None else self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})
