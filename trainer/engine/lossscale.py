"""The factor that a loss is multiplied by under float16, whose smallest numbers would round most of a gradient to zero.

One policy for every engine, so that a checkpoint of any continues in any other. Scales are powers of two: multiplying and dividing by
them rounds nothing. Tests: tests/trainer/engine/test_lossscale.py, tests/trainer/training/test_float16.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FIRST_SCALE = 2.0**16
"""As in torch's GradScaler and in DeepSpeed; too large for most models, which the first steps find out."""
GROWTH_STEPS = 2000
"""Steps without an overflow before a larger scale is tried, as in torch's GradScaler: each try costs a step's computing if it fails."""
SMALLEST_SCALE = 1.0
"""Below it the loss is made smaller: gradients that overflow even then do not fit float16."""


@dataclass
class LossScale:
    """The scale of the next backward pass, and how long it has been good."""

    scale: float = FIRST_SCALE
    good_steps: int = 0
    """Steps since the scale changed."""

    def unscale(self, gradients: Sequence[Tensor]) -> None:
        """Divide gradients by the scale, in place."""
        torch._foreach_mul_(list(gradients), 1 / self.scale)

    def fits(self, *, overflowed: bool) -> bool:
        """Return whether a step's gradient is of use, and set the scale for the next backward pass.

        It is halved after an overflow, and doubled after `GROWTH_STEPS` steps without one.
        """
        if overflowed:
            self.scale, self.good_steps = self.scale / 2, 0
            return False
        self.good_steps += 1
        if self.good_steps == GROWTH_STEPS:
            self.scale, self.good_steps = self.scale * 2, 0
        return True

    @property
    def collapsed(self) -> bool:
        """Whether no scale is left to try."""
        return self.scale < SMALLEST_SCALE

    def to_state(self) -> dict[str, Any]:
        """Return the JSON that a checkpoint stores."""
        return {"scale": self.scale, "goodSteps": self.good_steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `to_state` gave."""
        self.scale, self.good_steps = float(state["scale"]), int(state["goodSteps"])
