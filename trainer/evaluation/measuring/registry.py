"""Finds the ways of measuring: MEASURED_BY of the modules in this folder, so that a new file needs no registration.

Test: tests/trainer/evaluation/measuring/test_registry.py.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from finetune.api.metrics import MetricName, Needs
from trainer.engine.inference import Inference
from trainer.evaluation import measuring
from trainer.evaluation.heldout import Between, HeldOut
from trainer.evaluation.measurement import Measurement
from trainer.objectives.base import Forward

Way = Callable[[Inference, Forward, HeldOut[Any], Sequence[MetricName], Between], Measurement]
"""Returns the figures with these names, all of one kind of needs, and the evidence that they were computed from."""


@cache
def ways() -> Mapping[Needs, Way]:
    """Return how the metrics of each kind are measured; a task may need only kinds that are in it.

    Raises RuntimeError if two files measure the same kind.
    """
    found: dict[Needs, Way] = {}
    for module in pkgutil.iter_modules(measuring.__path__, f"{measuring.__name__}."):
        for needs, way in getattr(importlib.import_module(module.name), "MEASURED_BY", {}).items():
            if found.setdefault(needs, way) is not way:
                raise RuntimeError(f"{module.name} measures {needs}, which another file does too")
    return found
