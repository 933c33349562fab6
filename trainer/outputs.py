"""The logits among what a model's forward pass returns, for whoever runs one. Test: tests/trainer/objectives/test_family.py."""

from typing import Any

import torch
from torch import Tensor


def logits_of(outputs: Any) -> Tensor:
    """Return the logits; of a model that finds spans (rows, positions, 2): those of the start and of the end."""
    if "start_logits" in outputs:
        return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
    found: Tensor = outputs.logits
    return found
