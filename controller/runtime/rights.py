"""What a program has to be allowed by RBAC, declared as `RIGHTS` in the module whose code needs it.

A right that is declared beside the request cannot be forgotten in a file far away: roles are generated from these. Pure.
Test: tests/controller/runtime/test_rights.py.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from controller.runtime.resources import Resource

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete"]
VERBS: tuple[Verb, ...] = get_args(Verb)
"""In the order in which they are written into roles."""


@dataclass(frozen=True)
class Right:
    """One verb on one kind of object; `why` is the comment in the role, where it is not obvious, and no part of the right."""

    resource: Resource
    verb: Verb
    subresource: str = ""
    why: str = field(default="", compare=False)

    @property
    def plural(self) -> str:
        """The resource as a role names it, such as `finetunejobs/status`."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural

    def __str__(self) -> str:
        return f"{self.verb} {self.plural}" + (f".{self.resource.group}" if self.resource.group else "")


def rights(resource: Resource, *verbs: Verb, subresource: str = "", why: str = "") -> tuple[Right, ...]:
    """Return a right for each verb."""
    return tuple(Right(resource, verb, subresource, why) for verb in verbs)


def declared_beside(function: Callable[..., object]) -> tuple[Right, ...]:
    """Return the `RIGHTS` of the module that defines a function; most need none."""
    declared: tuple[Right, ...] = getattr(sys.modules[function.__module__], "RIGHTS", ())
    return declared
