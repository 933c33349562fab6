"""Dropout on the output of every attention and feed-forward block, for models whose own modules have none.

Hooks act in train mode only and hold no state; randomness is torch's global generator, which the loop seeds at each step.
Test: tests/trainer/model/test_dropout.py.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from trainer.config.errors import InputError

BLOCK_SUFFIXES = ("Attention", "AttentionV2", "MLP", "FeedForward", "SparseMoeBlock", "MoE")


def add_block_dropout(model: nn.Module, probability: float) -> int:
    """Drop outputs of each block of each layer with `probability`; return how many blocks that are.

    Raises InputError where the architecture's blocks are not found: dropout that does not act must not pass for dropout.
    """
    if probability == 0:
        return 0
    blocks = list(_blocks(model))
    if not blocks:
        problem = f"cannot act: no attention and feed-forward blocks were found in {type(model).__name__}"
        raise InputError("regularization.dropout", problem, "set it to 0 for this model")
    for block in blocks:
        block.register_forward_hook(_hook(probability))
    return len(blocks)


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the direct children of each layer that are an attention or feed-forward block by the name of their class."""
    for layers in model.modules():
        if isinstance(layers, nn.ModuleList) and len(layers) and all(type(layer) is type(layers[0]) for layer in layers):
            for layer in layers:
                yield from (child for child in layer.children() if type(child).__name__.endswith(BLOCK_SUFFIXES))


def _hook(probability: float) -> Any:
    def drop(module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        if not module.training:
            return None
        if isinstance(output, Tensor):
            return functional.dropout(output, probability)
        # Attention returns its output first, weights or a cache after it.
        return (functional.dropout(output[0], probability), *output[1:])

    return drop
