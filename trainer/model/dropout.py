"""Dropout on the output of every attention and feed-forward block, for models that have none of their own.

Hooks act in train mode only and hold no state; randomness is torch's global generator, which the loop seeds at each step.
Test: tests/trainer/model/test_dropout.py.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from finetune.api.errors import InputError

# Endings of transformers' class names: blocks that mix the tokens of a row, and blocks that work on each token alone.
MIXING = ("Attention", "AttentionV2", "GatedDeltaNet", "ShortConv", "Mixer", "MambaLayer", "RecurrentBlock")
FEED_FORWARD = ("MLP", "Mlp", "FeedForward", "SparseMoeBlock", "SparseMoEBlock", "MoE", "Moe", "MoELayer", "ActDense")
IN_THE_LAYER = ("fc1", "fc2")
"""OPT, XGLM and BioGPT have no feed-forward block: its two linear layers are in the layer itself."""
WITHIN, OF_MIXING, SUM_WITH = "Output", "SelfOutput", "input_tensor"
"""BERT-like models compute a block's output in a module of these endings, which takes what it is added to by that name: dropout is then
on its linear layer, where their own is."""
WITH_RESIDUAL = ("XLNet",)
"""Beginnings of the names of classes that add the residual themselves, without taking it as an argument."""


def add_block_dropout(model: nn.Module, probability: float) -> int:
    """Apply dropout with `probability` to the output of each block of each layer; return the number of blocks.

    Raises InputError when only some blocks of a layer are found: dropout on half of the blocks is not what the user asked for.
    """
    if probability == 0:
        return 0
    blocks: list[nn.Module] = []
    for layer in _layers(model):
        parts = _members(layer) or [layer]
        mixing, feed_forward = _before_the_sum(layer)
        if not (mixing or feed_forward):
            mixing = [block for part in parts for block in _parts(part, MIXING)]
            feed_forward = [block for part in parts for block in _feed_forward(part)]
        if not (mixing and feed_forward) and not _are_all(layer, [*mixing, *feed_forward]):
            raise _cannot_act(model, f"no {'feed-forward' if mixing else 'attention'} block was found in {type(layer).__name__}")
        blocks += [*mixing, *feed_forward]
    if not blocks:
        raise _cannot_act(model, "no attention and feed-forward blocks were found")
    for block in blocks:
        block.register_forward_hook(_hook(probability))
    return len(blocks)


def _are_all(layer: nn.Module, blocks: Sequence[nn.Module]) -> bool:
    """Return whether nothing else in a layer computes: Mamba's layers have one block each."""
    rest = [child for child in layer.children() if all(child is not block for block in blocks)]
    return bool(blocks) and all("Norm" in type(child).__name__ or isinstance(child, nn.Dropout | nn.Identity) for child in rest)


def _cannot_act(model: nn.Module, reason: str) -> InputError:
    return InputError("regularization.dropout", f"cannot act on {type(model).__name__}: {reason}", "set it to 0 for this model")


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of the model: list members that transformers marks as layers, or that contain a block."""
    members = {id(member) for layer in model.modules() for member in _members(layer)}
    for layers in model.modules():
        if isinstance(layers, nn.ModuleList):
            for layer in layers:
                if id(layer) in members:
                    continue
                if isinstance(layer, GradientCheckpointingLayer) or any(_parts(layer, (*MIXING, *FEED_FORWARD))):
                    yield layer


def _members(layer: nn.Module) -> list[nn.Module]:
    """Return the parts of a layer whose blocks are one level deeper, as in T5: a list of attentions and a feed-forward."""
    if not isinstance(layer, GradientCheckpointingLayer) or any(_parts(layer, (*MIXING, *FEED_FORWARD))):
        return []
    return [member for child in layer.children() if isinstance(child, nn.ModuleList) for member in child]


def _parts(layer: nn.Module, endings: tuple[str, ...]) -> Iterator[nn.Module]:
    """Yield a layer's children that are blocks by class name and whose output is added to the residual."""
    for child in layer.children():
        name = type(child).__name__
        adds_residual = name.startswith(WITH_RESIDUAL) or "residual" in inspect.signature(child.forward).parameters
        # Dropout on the sum would hit the residual too.
        if name.endswith(endings) and not adds_residual:
            yield child


def _before_the_sum(layer: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the last linear layers of the blocks of a layer, attention and feed-forward, that add the residual after them."""
    mixing: list[nn.Module] = []
    feed_forward: list[nn.Module] = []
    for module in layer.modules():
        name, last = type(module).__name__, getattr(module, "dense", None)
        if name.endswith(WITHIN) and isinstance(last, nn.Module) and SUM_WITH in inspect.signature(module.forward).parameters:
            (mixing if name.endswith(OF_MIXING) else feed_forward).append(last)
    return mixing, feed_forward


def _feed_forward(layer: nn.Module) -> Iterator[nn.Module]:
    yield from _parts(layer, FEED_FORWARD)
    children = dict(layer.named_children())
    if all(name in children for name in IN_THE_LAYER):
        yield children[IN_THE_LAYER[-1]]


def _hook(probability: float) -> Any:
    def drop(module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        if not module.training:
            return None
        if isinstance(output, Tensor):
            return functional.dropout(output, probability)
        # Attention returns its output first, weights or a cache after it.
        return (functional.dropout(output[0], probability), *output[1:])

    return drop
