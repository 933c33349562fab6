"""Attention that computes each document of a packed row alone, registered with transformers under the name PER_DOCUMENT.

A document of n tokens costs what it costs alone, and no mask is built. Lengths reach the function as the keyword argument
`documents`, which models hand on as they do with flash attention's; a forward pass without it, as in generation, is computed by
transformers' own `sdpa`. Test: tests/trainer/model/test_attention.py, tests/trainer/model/test_packing.py.
"""

import inspect
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainer.objectives.documents import Documents

PER_DOCUMENT = "per_document"
"""The implementation's name in a model's configuration; transformers does not write it into config.json."""

WITHOUT_EFFECT = frozenset({
    "position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict",
    "sliding_window", "softcap", "position_embeddings",
})  # fmt: skip
"""Keyword arguments that models pass besides those that are honored, and that change nothing here."""
FLASH_TYPES = (torch.float16, torch.bfloat16)
FLASH_HEAD = 256
"""Largest size of a head that the kernels for grouped queries take; transformers draws the same line."""


class UnsupportedAttentionError(ValueError):
    """A model asks its attention for something that is not computed per document."""


@dataclass
class AttentionCalls:
    """What a forward pass asked of its attention, noted when it is passed along as `attention_calls`."""

    windows: list[int | None] = field(default_factory=list)
    """The sliding window of each call."""


@dataclass(frozen=True)
class Scores:
    """How the scores of queries and keys become weights."""

    scaling: float | None
    """Factor of the scores; None is one over the root of the size of a head."""
    dropout: float
    """Probability that a weight is dropped; 0 outside training."""
    window: int | None = None
    """Number of tokens that a token attends to, itself included; None is all before it."""
    softcap: float | None = None
    """Scores are squeezed into plus and minus this by tanh (Gemma 2); None leaves them as they are."""


def per_document_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
                           dropout: float = 0.0, scaling: float | None = None, documents: Documents | None = None,
                           attention_calls: AttentionCalls | None = None, is_causal: bool | None = None,
                           **others: Any) -> tuple[Tensor, None]:  # fmt: skip
    """Return what `module` attends to, (rows, tokens, heads, size of a value); for transformers, which also wants None.

    `query` (rows, heads, tokens, size), `key` and `value` (rows, key heads, tokens, size). With `documents` there is one row, and
    `attention_mask` is ignored. Raises UnsupportedAttentionError for a keyword argument that it does not know.
    """
    scores = Scores(scaling, dropout, others.get("sliding_window"), others.get("softcap"))
    if documents is None:
        if scores.softcap is not None:
            mask = attention_mask if attention_mask is not None else causal_mask(query.shape[2], key.shape[2], None, query.device)
            return _softcapped(query, key, value, mask, scores).transpose(1, 2).contiguous(), None
        output: Tensor = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **others
        )[0]
        return output, None
    _refuse_unknown(module, is_causal, others)
    if attention_calls is not None:
        attention_calls.windows.append(scores.window)
    if _has_kernel(query, value, scores):
        return _by_kernel(query, key, value, documents, scores), None
    return _one_after_the_other(query, key, value, documents, scores), None


def register() -> None:
    """Make PER_DOCUMENT known to transformers; safe to repeat."""
    AttentionInterface.register(PER_DOCUMENT, per_document_attention)
    # For passes without documents. Those with documents bring a mask of four dimensions, which transformers leaves as it is.
    AttentionMaskInterface.register(PER_DOCUMENT, sdpa_mask)


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Return (queries, keys): whether the last `queries` of `keys` tokens attend to each key."""
    distance = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)[None]
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def _refuse_unknown(module: nn.Module, is_causal: bool | None, others: dict[str, Any]) -> None:
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise UnsupportedAttentionError("its tokens attend to later ones")
    unknown = sorted(name for name, given in others.items() if name not in WITHOUT_EFFECT and given is not None and given is not False)
    if unknown:
        raise UnsupportedAttentionError(f"its attention takes {', '.join(unknown)}")


def _one_after_the_other(query: Tensor, key: Tensor, value: Tensor, documents: Documents, scores: Scores) -> Tensor:
    """Compute each run of equally long documents at once."""
    runs = documents.runs
    sizes = [length * count for length, count in runs]
    found = []
    # Split, not sliced: the gradient of a slice is as large as the whole row.
    parts = zip(*(torch.split(states, sizes, dim=2) for states in (query, key, value)), strict=True)
    for (length, count), part in zip(runs, parts, strict=True):
        queries, keys, values = (states[0].unflatten(1, (count, length)).transpose(0, 1) for states in part)
        found.append(_attend(queries, keys, values, scores).transpose(1, 2).flatten(0, 1))
    return torch.cat(found).unsqueeze(0)


def _attend(query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
    """Return (documents, heads, length, size) for documents of one length."""
    length = query.shape[2]
    narrow = scores.window is not None and scores.window < length
    if scores.softcap is not None:
        return _softcapped(query, key, value, causal_mask(length, length, scores.window, query.device), scores)
    mask = causal_mask(length, length, scores.window, query.device) if narrow else None
    grouped = query.shape[1] != key.shape[1]
    if grouped and not (mask is None and query.shape[-1] == value.shape[-1] <= FLASH_HEAD):
        key, value, grouped = _repeated(key, query.shape[1]), _repeated(value, query.shape[1]), False
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=scores.dropout, is_causal=mask is None, scale=scores.scaling, enable_gqa=grouped
    )


def _softcapped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scores: Scores) -> Tensor:
    """Return (documents, heads, queries, size), as Gemma 2's own code computes it; no fused kernel squeezes scores.

    `mask`: whether a query attends to a key, or what is added to their score.
    """
    key, value = _repeated(key, query.shape[1]), _repeated(value, query.shape[1])
    products = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scores.scaling is None else scores.scaling)
    if scores.softcap is not None:
        products = torch.tanh(products / scores.softcap) * scores.softcap
    products = products.masked_fill(~mask, torch.finfo(products.dtype).min) if mask.dtype == torch.bool else products + mask
    weights = functional.softmax(products, dim=-1, dtype=torch.float32).to(query.dtype)
    return functional.dropout(weights, scores.dropout) @ value


def _repeated(states: Tensor, heads: int) -> Tensor:
    """Return keys or values with one head for each head of the queries."""
    return states if states.shape[1] == heads else states.repeat_interleave(heads // states.shape[1], dim=1)


def _has_kernel(query: Tensor, value: Tensor, scores: Scores) -> bool:
    """Return whether torch's kernel for documents of different lengths computes this: on CUDA, in half precision, without extras."""
    plain = scores.softcap is None and scores.dropout == 0 and (scores.scaling is None or scores.scaling > 0)
    fits = _computed_in(query) in FLASH_TYPES and query.shape[-1] == value.shape[-1] <= FLASH_HEAD and query.shape[-1] % 8 == 0
    return query.is_cuda and plain and fits and _varlen() is not None


def _computed_in(states: Tensor) -> torch.dtype:
    """Return the type of the arithmetic: rotary positions may have made float32 of what autocast computes in half precision."""
    kind = states.device.type
    # A model without weights is on a device that has no autocast, and asking there raises RuntimeError.
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if autocast else states.dtype


@lru_cache(maxsize=1)
def _varlen() -> tuple[Any, frozenset[str]] | None:
    """Return torch's kernel and the names of its arguments; None where it has none, or an early one without windows."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    arguments = frozenset(inspect.signature(varlen_attn).parameters)
    return (varlen_attn, arguments) if {"scale", "window_size"} <= arguments else None


def _by_kernel(query: Tensor, key: Tensor, value: Tensor, documents: Documents, scores: Scores) -> Tensor:
    kernel, arguments = cast(tuple[Any, frozenset[str]], _varlen())
    options: dict[str, Any] = {"scale": scores.scaling}
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" in arguments:
            options["enable_gqa"] = True
        else:
            key, value = _repeated(key, query.shape[1]), _repeated(value, query.shape[1])
    longest, boundaries = max(documents.lengths), documents.boundaries
    # The kernel counts the tokens before the one that attends; -1 is all of them.
    options["window_size"] = (-1 if scores.window is None or scores.window >= longest else scores.window - 1, 0)
    # Autocast does not know the kernel, as it does scaled_dot_product_attention.
    states = [part[0].transpose(0, 1).to(_computed_in(query)) for part in (query, key, value)]
    output: Tensor = kernel(*states, boundaries, boundaries, longest, longest, **options)
    return output.unsqueeze(0)
