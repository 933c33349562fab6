"""Noise on the embeddings of the tokens that a model reads, in training only (NEFTune; Jain et al. 2023, arXiv:2310.05914).

Uniform in [-1, 1], times alpha / sqrt(L d): L the number of tokens of the row, of a packed row those of each document, without padding;
d the width of an embedding. Hooks do it, so that peft's, torch's and DeepSpeed's wrappers make no difference: one on the whole model
notes how long the rows are, one on the embeddings adds the noise. It is drawn from torch's global generator, which the loop seeds at
each step; layers that are recomputed in the backward pass do not compute embeddings. Test: tests/trainer/model/test_noise.py.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.api.errors import InputError
from trainer.model.faults import first_line
from trainer.objectives.family import Family, probe_inputs

logger = logging.getLogger(__name__)

FIELD, FIX = "regularization.neftuneNoiseAlpha", "set it to 0 for this model"
TRIED = (2, 5)
"""Rows and tokens of the trial, which differ so that a model that swaps them is seen."""


def add_embedding_noise(model: nn.Module, alpha: float) -> "EmbeddingNoise | None":
    """Add noise of size `alpha` to the input embeddings of a model, which may have adapters; None for no noise.

    Of an encoder-decoder those that its encoder reads. Raises InputError for a model whose embeddings cannot be found.
    """
    if alpha == 0:
        return None
    whole: Any = model
    base = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
    reader: Any = base.get_encoder() if base.config.is_encoder_decoder else base
    try:
        embeddings = reader.get_input_embeddings()
    except NotImplementedError:
        embeddings = None
    if not isinstance(embeddings, nn.Module):
        raise InputError(FIELD, f"cannot act on {type(base).__name__}, whose embeddings are no module", FIX)
    noise = EmbeddingNoise(alpha, type(base).__name__)
    model.register_forward_pre_hook(noise.note_lengths, with_kwargs=True)
    model.register_forward_hook(noise.forget_lengths, always_call=True)
    if reader is not base:  # a decoder may use the same module
        reader.register_forward_pre_hook(noise.begin)
        reader.register_forward_hook(noise.end, always_call=True)
        noise.reading = False
    embeddings.register_forward_hook(noise.add)
    return noise


def refuse_unheard_noise(model: nn.Module, family: Family) -> None:
    """Raise InputError where a forward pass in training adds no noise, or cannot; the model may be on the meta device.

    A pass that fails for another reason says nothing: the worker that loads the weights will.
    """
    hooks = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
    noise = next((found for found in hooks if isinstance(found, EmbeddingNoise)), None)
    if noise is None:
        return
    ids = torch.ones(TRIED, dtype=torch.long, device=next(model.parameters()).device)
    try:
        with torch.no_grad():
            model(**probe_inputs(family, ids), attention_mask=torch.ones_like(ids))
    except InputError:
        raise
    except Exception as error:
        logger.warning("noise on embeddings could not be tried without weights: %s", first_line(error))
        return
    if noise.added == 0:
        raise InputError(FIELD, f"does not act on {noise.model}, which computes its embeddings elsewhere", FIX)


class EmbeddingNoise:
    """The hooks, and what they know of the forward pass that is under way."""

    def __init__(self, alpha: float, model: str) -> None:
        self._alpha, self.model = alpha, model
        self.reading = True
        """Whether what the embeddings are computed for is read, not written."""
        self.added = 0
        """How often noise was added."""
        self._inputs: Mapping[str, Any] | None = None

    def note_lengths(self, module: nn.Module, _: Any, inputs: Mapping[str, Any]) -> None:
        """Keep what says how long the rows are."""
        self._inputs = {name: inputs.get(name) for name in ("attention_mask", "documents")} if module.training else None

    def forget_lengths(self, *_: Any) -> None:
        """Keep no batch longer than its forward pass."""
        self._inputs = None

    def begin(self, *_: Any) -> None:
        """Note that the encoder computes."""
        self.reading = True

    def end(self, *_: Any) -> None:
        """Note that it is done."""
        self.reading = False

    def add(self, module: nn.Module, _: Any, embedded: Tensor) -> Tensor | None:
        """Return the embeddings (rows, tokens, width) with noise."""
        if self._inputs is None or not (module.training and self.reading):
            return None
        scale = self._alpha * shares(self._inputs, embedded) / embedded.shape[-1] ** 0.5
        if scale.shape != embedded.shape[:-1]:
            raise InputError(FIELD, f"cannot act on {self.model}, which embeds rows in a form of its own", FIX)
        self.added += 1
        drawn = torch.rand(embedded.shape, device=embedded.device) * 2 - 1
        noisy: Tensor = embedded + (drawn * scale.unsqueeze(-1)).to(embedded.dtype)
        return noisy


def shares(inputs: Mapping[str, Any], embedded: Tensor) -> Tensor:
    """Return 1 / sqrt(L) for each token, L the number of tokens of its row or document; 0 for padding: (rows, tokens), float32."""
    documents, mask = inputs.get("documents"), inputs.get("attention_mask")
    if documents is not None:
        lengths = documents.boundaries.diff()
        of_each = torch.repeat_interleave(lengths, lengths, output_size=sum(documents.lengths))
        return of_each.float().rsqrt().unsqueeze(0)
    if mask is None:
        rows, tokens = embedded.shape[:2]
        return torch.full((rows, tokens), float(tokens) ** -0.5, device=embedded.device)
    found = mask.float() * mask.sum(dim=1, keepdim=True).clamp_min(1).float().rsqrt()
    return functional.pad(found, (0, max(0, embedded.shape[1] - found.shape[1])))  # models with windows pad rows themselves
