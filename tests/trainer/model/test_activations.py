"""What a forward pass keeps for backward, counted without data, is what a real one keeps."""

import copy
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from finetune.api.sections import FullMethod, LoraMethod, Method, Regularization
from finetune.api.tasks import ModelFamily
from tests.trainer.fixtures.causal import tiny_gpt2, tiny_model
from tests.trainer.fixtures.encoders import tiny_encoder
from tests.trainer.fixtures.seq2seq import tiny_seq2seq
from tests.trainer.fixtures.tinymodels import tiny
from trainer.data.rows import Sample
from trainer.model.activations import activation_bytes, logits_bytes
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.model.untuned import as_base
from trainer.objectives.base import probed_forward
from trainer.objectives.causal import CAUSAL
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.objectives.masked import MASKED_LM, MaskedObjective
from trainer.objectives.penalties import NO_PENALTIES, Penalties
from trainer.objectives.seq2seq import SEQ2SEQ, SEQ2SEQ_LM
from trainer.outputs import logits_of

TOKENS = 64


def with_adapters() -> Any:
    model = apply_method(tiny_model(), Method(lora=LoraMethod(rank=4)), Regularization(), 1, CAUSAL_LM)
    fuse_adapters(model)
    return model


def really_kept(model: Any) -> int:
    """Return the bytes of all storages that a real forward pass keeps on the CPU, less the weights'."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor  # alive, so that no other storage gets its address
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model.train()(torch.ones((1, TOKENS), dtype=torch.long), use_cache=False).logits
    del logits
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("build", [tiny_model, tiny_gpt2, with_adapters])
def test_the_count_is_that_of_a_real_pass(build: Callable[[], Any]) -> None:
    """Without dropout: with it a CPU computes attention in parts and keeps its matrix."""
    model = build()
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.p = 0.0
    expected = really_kept(copy.deepcopy(model))
    assert activation_bytes(model.to("meta"), torch.float32, TOKENS, CAUSAL_LM) == pytest.approx(expected, rel=0.15)


def test_it_grows_with_the_tokens_and_halves_with_the_type() -> None:
    one = activation_bytes(tiny_model().to("meta"), torch.float32, 64, CAUSAL_LM)
    many = activation_bytes(tiny_model().to("meta"), torch.float32, 6400, CAUSAL_LM)
    half = activation_bytes(tiny_model().to("meta"), torch.bfloat16, 64, CAUSAL_LM)
    assert one is not None
    assert half is not None
    assert many == pytest.approx(100 * one, rel=1e-6)
    assert 0.4 * one < half < 0.8 * one


def test_an_architecture_that_needs_data_has_no_estimate() -> None:
    class Stubborn(torch.nn.Module):
        def forward(self, **_: Any) -> Any:
            raise NotImplementedError

    assert activation_bytes(Stubborn(), torch.float32, 64, CAUSAL_LM) is None
    assert activation_bytes(None, torch.float32, 64, CAUSAL_LM) is None


ROWS, LENGTH, TARGET, VOCABULARY = 3, 40, 24, 6000


def peak_bytes(folder: Path, compute: Callable[[], object]) -> int:
    """Return how much more memory was taken at once while `compute` ran, as torch's own profiler saw the CPU's allocator."""
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        compute()
    seen.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    return max(itertools.accumulate(size for _, size in changes))


def causal(*, pulled: bool, capped: bool = False) -> tuple[Any, Family, Any]:
    name, changes = ("gemma2", {"final_logit_softcapping": 30.0}) if capped else ("llama", {"tie_word_embeddings": False})
    base = tiny(name, {"vocab_size": VOCABULARY, **changes})
    method = Method(lora=LoraMethod(rank=2)) if pulled or capped else Method(full=FullMethod())
    return apply_method(base, method, Regularization(), 1, CAUSAL_LM), CAUSAL_LM, CAUSAL


def masked() -> tuple[Any, Family, Any]:
    base = tiny_encoder("AutoModelForMaskedLM", vocab_size=VOCABULARY)
    return apply_method(base, Method(full=FullMethod()), Regularization(), 1, MASKED_LM), MASKED_LM, MaskedObjective()


def seq2seq() -> tuple[Any, Family, Any]:
    return apply_method(tiny_seq2seq("t5", VOCABULARY), Method(full=FullMethod()), Regularization(), 1, SEQ2SEQ_LM), SEQ2SEQ_LM, SEQ2SEQ


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("build", "pulled"),
    [
        pytest.param(partial(causal, pulled=False), False, id="trained output layer"),
        pytest.param(partial(causal, pulled=False, capped=True), False, id="capped logits"),
        pytest.param(partial(causal, pulled=True, capped=True), True, id="pull to the base"),
        pytest.param(masked, False, id="masked tokens"),
        pytest.param(seq2seq, False, id="encoder-decoder"),
    ],
)
def test_where_logits_exist_whole_a_step_takes_what_is_counted(
    build: Callable[[], tuple[Any, Family, Any]], pulled: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    model, family, objective = build()
    model = model.to(dtype).train()
    ids = [3 + place for place in range(LENGTH)]
    tail = {ModelFamily.SEQ2SEQ: TARGET, ModelFamily.ENCODER: LENGTH}.get(family.kind, 0)
    mask = {ModelFamily.CAUSAL: [0] + [1] * (LENGTH - 1), ModelFamily.SEQ2SEQ: [0] * LENGTH + [1] * TARGET}.get(family.kind, [1] * LENGTH)
    samples = [Sample(str(row), ids + ids[:tail], mask, 0, truncated=False, tail=tail) for row in range(ROWS)]
    forward = probed_forward(model, lambda **inputs: logits_of(model(**inputs)), family)
    assert forward.chunked_layer is None
    penalties = Penalties(base_kl_weight=0.5, as_base=partial(as_base, model)) if pulled else NO_PENALTIES
    batch, scored = objective.collate(samples), ROWS * (TARGET if family.kind is ModelFamily.SEQ2SEQ else LENGTH)

    peak = peak_bytes(tmp_path, lambda: objective.loss(forward, batch, penalties).objective.backward())

    gradients = sum(parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None)
    bare = copy.deepcopy(model).to("meta")
    counted = activation_bytes(bare, dtype, batch.tokens, family) + logits_bytes(bare, dtype, scored, pulled=pulled)
    assert peak - gradients <= counted <= 1.25 * peak
    assert activation_bytes(bare, dtype, batch.tokens, family) < 0.5 * peak, "without logits it would be far off"
