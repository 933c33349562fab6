"""Attention per document equals an independent computation of each document alone, forward and backward."""

import inspect
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from trainer.model.attention import AttentionCalls, UnsupportedAttentionError, causal_mask, per_document_attention
from trainer.objectives.documents import Documents

HEADS, KEY_HEADS, SIZE = 4, 2, 8
LENGTHS = (7, 5, 5, 1, 9)
MODULE = cast(nn.Module, SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // KEY_HEADS))


def states(lengths: tuple[int, ...] = LENGTHS, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = [(1, heads, sum(lengths), SIZE) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    query, key, value = (torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes)
    return query, key, value


def by_hand(query: Tensor, key: Tensor, value: Tensor, *, window: int | None, softcap: float | None, scaling: float | None) -> Tensor:
    """Return the output token by token, head by head, from the definition; (1, tokens, heads, size)."""
    rows, start = [], 0
    for length in LENGTHS:
        for place in range(start, start + length):
            first = start if window is None else max(start, place - window + 1)
            heads = []
            for head in range(HEADS):
                of_head = head // (HEADS // KEY_HEADS)
                scores = key[0, of_head, first : place + 1] @ query[0, head, place] * (SIZE**-0.5 if scaling is None else scaling)
                scores = softcap * torch.tanh(scores / softcap) if softcap is not None else scores
                heads.append(torch.softmax(scores, 0) @ value[0, of_head, first : place + 1])
            rows.append(torch.stack(heads))
        start += length
    return torch.stack(rows).unsqueeze(0)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"scaling": 0.1}, id="another scale"),
        pytest.param({"window": 3}, id="a window shorter than some documents"),
        pytest.param({"window": 100}, id="a window longer than all"),
        pytest.param({"softcap": 0.5}, id="a soft cap"),
        pytest.param({"softcap": 0.5, "window": 2, "scaling": 0.7}, id="all of them"),
    ],
)
def test_each_document_gets_what_the_definition_gives_it_alone(options: dict[str, Any]) -> None:
    wanted = {"window": None, "softcap": None, "scaling": None} | options
    given = states()
    found, _ = per_document_attention(MODULE, *given, None, documents=Documents.of(LENGTHS), scaling=wanted["scaling"],
                                      sliding_window=wanted["window"], softcap=wanted["softcap"])  # fmt: skip
    expected = by_hand(*given, **wanted)
    # In float64, except where weights are taken in float32, as the model's own code does.
    tolerance = 1e-6 if wanted["softcap"] is not None else 1e-12
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    gradients = [torch.autograd.grad((output * weights).sum(), given) for output in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=10 * tolerance, atol=10 * tolerance)


def ragged(query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int, *,
           scale: float | None = None, window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False) -> Tensor:  # fmt: skip
    """Compute what torch documents of its kernel for documents of different lengths: (tokens, heads, size), windows of tokens before."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert (max_q, max_k, window_size[1], enable_gqa) == (max(LENGTHS), max(LENGTHS), 0, True)
    found = []
    for begin, end in zip(cu_seq_q.tolist(), cu_seq_k.tolist()[1:], strict=False):
        before = torch.arange(end - begin)[:, None] - torch.arange(end - begin)
        mask = (before >= 0) & (before <= (window_size[0] if window_size[0] >= 0 else max_k))
        parts = (part[begin:end].transpose(0, 1)[None] for part in (query, key, value))
        attended = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)
        found.append(attended[0].transpose(0, 1))
    return torch.cat(found)


@pytest.mark.parametrize("window", [None, 3, 100])
@pytest.mark.parametrize("scaling", [None, 0.2])
def test_the_kernel_for_gpus_is_given_what_it_asks_for(monkeypatch: pytest.MonkeyPatch, window: int | None, scaling: float | None) -> None:
    given, documents = states(), Documents.of(LENGTHS)
    expected, _ = per_document_attention(MODULE, *given, None, scaling=scaling, documents=documents, sliding_window=window)
    monkeypatch.setattr("trainer.model.attention._has_kernel", lambda *_: True)
    monkeypatch.setattr("trainer.model.attention._varlen", lambda: (ragged, frozenset(inspect.signature(ragged).parameters)))
    found, _ = per_document_attention(MODULE, *given, None, scaling=scaling, documents=documents, sliding_window=window)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_kernel_of_a_gpu_computes_what_the_loop_does(window: int | None, autocast: bool) -> None:
    device = torch.device("cuda")
    documents, given = Documents.of(LENGTHS).to(device), [part.detach().to(device, torch.float32) for part in states(dtype=torch.float32)]
    expected, _ = per_document_attention(MODULE, *given, None, documents=documents, sliding_window=window)
    halves = given if autocast else [part.bfloat16() for part in given]
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        found, _ = per_document_attention(MODULE, *halves, None, documents=documents, sliding_window=window)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("window", [None, 3])
def test_tokens_of_other_documents_change_nothing(window: int | None) -> None:
    query, key, value = states(dtype=torch.float32)
    own = slice(sum(LENGTHS[:2]), sum(LENGTHS[:3]))
    before, _ = per_document_attention(MODULE, query, key, value, None, documents=Documents.of(LENGTHS), sliding_window=window)
    with torch.no_grad():
        for part in (query, key, value):
            kept = part[:, :, own].clone()
            part.normal_()
            part[:, :, own] = kept
    after, _ = per_document_attention(MODULE, query, key, value, None, documents=Documents.of(LENGTHS), sliding_window=window)
    assert torch.equal(before[:, own], after[:, own])
    assert not torch.equal(before, after)


def test_dropout_leaves_the_mean_and_acts_only_when_asked_for() -> None:
    documents, generator = Documents.of([300, 200]), torch.Generator().manual_seed(3)
    query, key = (torch.randn((1, heads, 500, SIZE), generator=generator) for heads in (HEADS, KEY_HEADS))
    ones = torch.ones((1, KEY_HEADS, 500, SIZE))
    torch.manual_seed(2)
    dropped, _ = per_document_attention(MODULE, query, key, ones, None, dropout=0.5, documents=documents)
    assert float(dropped.std()) > 0
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.03)
    whole, _ = per_document_attention(MODULE, query, key, ones, None, documents=documents)
    assert torch.allclose(whole, torch.ones_like(whole))


@pytest.mark.parametrize(
    ("module", "others", "reason"),
    [
        pytest.param(MODULE, {"s_aux": torch.ones(HEADS)}, "takes s_aux", id="sinks"),
        pytest.param(MODULE, {"position_bias": torch.ones(1)}, "takes position_bias", id="a bias"),
        pytest.param(MODULE, {"is_causal": False}, "attend to later ones", id="asked to see later tokens"),
        pytest.param(SimpleNamespace(is_causal=False), {}, "attend to later ones", id="a module that sees later tokens"),
    ],
)
def test_what_cannot_be_computed_per_document_is_refused_with_the_reason(module: Any, others: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedAttentionError, match=reason):
        per_document_attention(module, *states(), None, documents=Documents.of(LENGTHS), **others)


def test_calls_are_noted_with_their_window() -> None:
    calls = AttentionCalls()
    for window in (None, 4):
        per_document_attention(MODULE, *states(), None, documents=Documents.of(LENGTHS), attention_calls=calls, sliding_window=window)
    assert calls.windows == [None, 4]


def test_without_documents_a_softcap_is_honored_with_the_models_own_mask_and_while_generating() -> None:
    query, key, value = states((6,))
    whole, _ = per_document_attention(MODULE, query, key, value, None, documents=Documents.of([6]), softcap=0.5)
    masked, _ = per_document_attention(MODULE, query, key, value, causal_mask(6, 6, None, query.device)[None, None], softcap=0.5)
    last, _ = per_document_attention(MODULE, query[:, :, -1:], key, value, None, softcap=0.5)
    assert torch.allclose(masked, whole)
    assert torch.allclose(last, whole[:, -1:])


def test_positions_begin_again_at_each_document_and_equal_neighbors_are_computed_at_once() -> None:
    documents = Documents.of([2, 2, 3])
    assert documents.positions().tolist() == [[0, 1, 0, 1, 0, 1, 2]]
    assert documents.boundaries.tolist() == [0, 2, 4, 7]
    assert documents.runs == [(2, 2), (3, 1)]
    assert math.prod(documents.inputs(torch.zeros((1, 7)))["attention_mask"].shape) == 1
