"""The base model under an adapter, as it answers while the adapter is trained: what keeps the tuned model near it.

No second copy of the weights: the adapter is switched off for a forward pass. Test: tests/trainer/model/test_untuned.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trainer.model.lora import adapters_off


@contextmanager
def as_base(model: Any) -> Iterator[None]:
    """Have an adapted model compute what its base does, without dropout, noise or a graph. Every rank must enter and leave it.

    Nothing is drawn at random in it, so that what the tuned model draws afterwards is the same as without.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), adapters_off(model):
            yield
    finally:
        model.train(training)
