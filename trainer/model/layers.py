"""What of a model comes before its layers, which the layers are, and what comes after them: for freezing, and for rates by depth.

Test: tests/trainer/model/test_layers.py.
"""

from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

COUNTS = (
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "n_layers",
    "encoder_layers",
    "num_decoder_layers",
    "decoder_layers",
    "num_hidden_groups",
)
"""Names that configurations have for the number of layers; needed where a model does not mark its layers."""
EMBEDDINGS = ("Embedding", "Embeddings")
"""Endings of transformers' names for what turns tokens into vectors, with the norm that belongs to it."""


def layers_of(model: Any) -> list[tuple[str, nn.Module]]:
    """Return the layers by name, from the first to the last; of an encoder-decoder those of the encoder, then those of the decoder.

    Layers that share all weights are one.
    """
    counts = {getattr(model.config, name, None) for name in COUNTS}
    found: list[tuple[str, nn.Module]] = []
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or (inside and name.startswith(inside)):
            continue
        members = [member for member in module if any(True for _ in member.parameters())]
        marked = any(isinstance(member, GradientCheckpointingLayer) for member in members)
        if members and (marked or len(members) in counts):
            found += [(f"{name}.{index}", member) for index, member in enumerate(module)]
            inside = (*inside, f"{name}.")
    return found


def embedding_names(model: Any) -> set[str]:
    """Return the names of the parameters of all embeddings: of tokens, positions, kinds of tokens, with their norm.

    Those inside of layers are parts of these; those of a head are the head's, unless it shares them, as a tied output layer does.
    """
    inside = tuple(f"{name}." for name, _ in layers_of(model))
    body = getattr(model, model.base_model_prefix, model)
    known = {id(parameter) for parameter in body.parameters()}
    chosen: set[int] = set()
    for name, module in model.named_modules():
        embeds = isinstance(module, nn.Embedding) or type(module).__name__.endswith(EMBEDDINGS)
        if embeds and not (inside and name.startswith(inside)):
            chosen |= {id(parameter) for parameter in module.parameters() if id(parameter) in known}
    within_layers = {id(parameter) for _, layer in layers_of(model) for parameter in layer.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in chosen - within_layers}


def depths(model: Any) -> dict[str, int]:
    """Return for each parameter how many layers and embeddings are above it: 0 above the last layer, 1 in the last layer.

    The embeddings are below all layers. Those of an encoder-decoder are one stack, with the decoder on the encoder.
    """
    layers = layers_of(model)
    found = dict.fromkeys((name for name, _ in model.named_parameters()), 0)
    for index, (prefix, _) in enumerate(layers):
        found |= {name: len(layers) - index for name in found if name.startswith(f"{prefix}.")}
    return found | dict.fromkeys(embedding_names(model), len(layers) + 1)
