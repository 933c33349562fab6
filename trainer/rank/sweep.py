"""Moves the model along the line from the base model's weights (0) to the tuned ones (1), and back, bit for bit.

An adapter's part is added with a factor, its `scaling`: multiplied by the position it is exactly that much of it. What is trained as a
whole is read from the checkpoint of its step and mixed with the base model's weights, read again from their files, tensor by tensor
(WiSE-FT; Wortsman et al. 2022, arXiv:2109.01903). Test: tests/trainer/rank/test_sweep.py.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from trainer.engine.state import PARAMETERS, StateSource
from trainer.model.line import SWEEP, left_out
from trainer.model.load import load_model
from trainer.rank.measuring import Measuring
from trainer.rank.outbox import Outbox
from trainer.storage.kinds import output_place
from trainer.storage.manifest import checkpoint_name
from trainer.storage.tensors import SavedTensors


def positions_of(measuring: Measuring, step: int, positions: Sequence[float], outbox: Outbox) -> Iterator[float]:
    """Yield each position while the model has the weights there; at the end it has those of `step` again.

    Nothing, with a warning, where the weights between cannot be made.
    """
    config, loaded = measuring.config, measuring.loaded
    finding = left_out(config.method, loaded.engine.model, sharded=loaded.engine.shards_parameters)
    if finding is not None:
        if finding not in outbox.warnings:  # the checks have usually found it
            outbox.warn(finding)
        return
    if config.method.lora is not None:
        for position in positions:
            with scaled_adapters(loaded.engine.model, position):
                yield position
        return
    tuned = SavedTensors(output_place(config.output).fetch(checkpoint_name(step)))
    base = load_model(loaded.located, torch.float32, measuring.task.objective.family, seed=config.training.seed)
    mixed = Mixed(tuned, dict(base.named_parameters()))
    others = sorted(set(mixed.names()[PARAMETERS]) - set(mixed.base))
    if others:
        outbox.warn(f"{SWEEP}: left out: the base model has no weight {others[0]}")
        return
    try:
        for position in positions:
            loaded.engine.load_parameters(mixed.at(position))
            yield position
    finally:
        loaded.engine.load_parameters(tuned)


@contextmanager
def scaled_adapters(model: nn.Module, position: float) -> Iterator[None]:
    """Have every adapter add `position` of what it adds, meanwhile."""
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [dict(layer.scaling) for layer in layers]
    try:
        for layer in layers:
            layer.scaling.update({name: position * factor for name, factor in layer.scaling.items()})
        yield
    finally:
        for layer, factors in zip(layers, before, strict=True):
            layer.scaling.update(factors)


@dataclass(frozen=True)
class Mixed:
    """The trained weights, mixed with those of the base model; a `StateSource` for an engine."""

    tuned: StateSource
    base: Mapping[str, Tensor]
    position: float = 1.0

    def at(self, position: float) -> "Mixed":
        """Return the mixture at another position."""
        return Mixed(self.tuned, self.base, position)

    def names(self) -> Mapping[str, Collection[str]]:
        """Return the names of the parameters."""
        return {PARAMETERS: self.tuned.names()[PARAMETERS]}

    def read(self, group: str, name: str, begin: int, end: int) -> Tensor:
        """Return a range of (1 - position) base + position tuned, float32."""
        base = self.base[name].detach().flatten()[begin:end].float()
        return torch.lerp(base, self.tuned.read(group, name, begin, end), self.position)
