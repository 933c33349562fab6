"""The state of training, apart from any engine: trained parameters and the optimizer's slots, whole or one rank's part of them.

An engine takes over a state by reading ranges of it, so that a rank needs no memory for what other ranks hold, and any engine
continues what any other has left. Tests: tests/trainer/engine/test_state_parts.py, tests/trainer/engine/test_optimizer.py.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from trainer.engine.optimizer import Optimizer

PARAMETERS = "parameters"
"""Name of the group of trainable parameters beside the optimizer's slots."""
Keep = Callable[[Tensor], Tensor]
"""What is done with each tensor of a state: returns it in float32."""


class StateSource(Protocol):
    """A saved state, read in ranges."""

    def names(self) -> Mapping[str, Collection[str]]:
        """Return the names of the parameters in each group: `PARAMETERS` and the slots."""

    def read(self, group: str, name: str, begin: int, end: int) -> Tensor:
        """Return the elements from `begin` to `end` of a flattened tensor, in one dimension, float32 on the CPU."""


@dataclass
class EngineState:
    """Trainable parameters and the optimizer's tensors for them, by parameter name, float32, whole (not sharded).

    On the CPU, unless `Engine.state` was told to keep them `in_place`: then where the engine has them.

    Independent of engine and world size. Empty on every rank but 0 when it comes from `Engine.state`.
    """

    parameters: dict[str, Tensor] = field(default_factory=dict)
    slots: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """By slot (`Optimizer.slots`), then by parameter name."""

    def groups(self) -> dict[str, dict[str, Tensor]]:
        """Return the parameters and the slots as named groups of tensors, the form that a checkpoint keeps."""
        return {PARAMETERS: self.parameters, **self.slots}

    def names(self) -> Mapping[str, Collection[str]]:
        """Return the names of the parameters in each group."""
        return self.groups()

    def read(self, group: str, name: str, begin: int, end: int) -> Tensor:
        """Return a range of a tensor."""
        return self.groups()[group][name].flatten()[begin:end]


@dataclass(frozen=True)
class StatePart:
    """One rank's part of the state where parameters or slots are sharded: a range of each flattened parameter, and of its slots."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of all whole parameters, by name; the same on every rank."""
    ranges: Mapping[str, tuple[int, int]]
    """Begin and end of this rank's range, by name; those of all ranks cover each parameter once. Parameters of which this rank holds
    nothing are left out."""
    groups: Mapping[str, Mapping[str, Tensor]]
    """By group, then by name: the ranges, in one dimension, float32. They change as soon as training goes on."""

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return sum(tensor.numel() for group in self.groups.values() for tensor in group.values())

    def kept(self, keep: Keep) -> "StatePart":
        """Return the part with what `keep` returns for each tensor."""
        return replace(self, groups={group: {name: keep(tensor) for name, tensor in own.items()} for group, own in self.groups.items()})


def cloned(tensor: Tensor) -> Tensor:
    """Return a copy that training does not change."""
    return in_place(tensor).cpu().clone()


def in_place(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, without a copy where it is already."""
    return tensor.detach().float()


def check_names(found: Collection[str], names: Collection[str]) -> None:
    """Raise KeyError when a state does not hold exactly the parameters `names`."""
    missing, unknown = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    if missing or unknown:
        raise KeyError(f"checkpoint and model have different parameters: missing {missing[:3]}, unknown {unknown[:3]}")


def check_state(state: StateSource, names: Collection[str], optimizer: Optimizer) -> None:
    """Raise KeyError when a state does not hold exactly the parameters `names` and, for each, what this optimizer keeps."""
    groups = state.names()
    slots = groups.keys() - {PARAMETERS}
    if slots != set(optimizer.slots):
        raise KeyError(f"checkpoint and optimizer have different state: {sorted(slots)}, {sorted(optimizer.slots)}")
    for found in groups.values():
        check_names(found, names)
