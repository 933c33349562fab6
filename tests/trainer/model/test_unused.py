"""Each trained parameter of a model has a gradient: what its job never computes with is left as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from finetune.api.sections import FullMethod, LoraMethod, Method, Regularization
from tests.trainer.fixtures.encoders import MASKED, SPANS, classes_family, tiny_encoder
from tests.trainer.fixtures.seq2seq import tiny_seq2seq, warm_start
from trainer.model.lora import apply_method
from trainer.model.unused import unused_modules
from trainer.objectives.family import Family, probe_inputs
from trainer.objectives.seq2seq import SEQ2SEQ_LM

FULL, LORA = Method(full=FullMethod()), Method(lora=LoraMethod(rank=2, alpha=4))
IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 3, 12, 13, 14, 3, 15, 16, 3, 17]])
CLASSES = classes_family()


def encoder(family: Family, model_type: str, **settings: Any) -> tuple[Callable[[], Any], Family]:
    return lambda: tiny_encoder(family.auto_class, model_type, attention_window=8, **family.settings, **settings), family


KINDS = {
    "an encoder's own masked words": (*encoder(MASKED, "bert"), []),
    "classes": (*encoder(CLASSES, "bert"), []),
    "spans": (*encoder(SPANS, "bert"), []),
    "a pooler beside masked words": (*encoder(MASKED, "layoutlm"), ["layoutlm.pooler"]),
    "a pooler that is one layer": (*encoder(MASKED, "big_bird", attention_type="original_full"), ["bert.pooler"]),
    "a pooler without attention": (*encoder(MASKED, "fnet"), ["fnet.pooler"]),
    "global attention beside masked words": (
        *encoder(MASKED, "longformer"),
        [f"longformer.encoder.layer.{layer}.attention.self.{part}_global" for layer in range(2) for part in ("query", "key", "value")],
    ),
    "global attention of classes": (*encoder(CLASSES, "longformer", sep_token_id=3), []),
    "images beside texts": (
        *encoder(MASKED, "neomme", tie_word_embeddings=False, head_dim=16, embedding_rank=8, num_key_value_heads=2),
        ["model.patch_embeddings"],
    ),
    "an encoder-decoder": (lambda: tiny_seq2seq("t5", 43), SEQ2SEQ_LM, []),
    "an encoder-decoder of two encoders": (lambda: warm_start(43), SEQ2SEQ_LM, ["encoder.pooler"]),
}  # fmt: skip


@pytest.mark.parametrize("method", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.parametrize(("make", "family", "unused"), KINDS.values(), ids=list(KINDS))
def test_all_that_is_trained_has_a_gradient(make: Callable[[], Any], family: Family, unused: list[str], method: Method) -> None:
    model = make()
    assert unused_modules(model, family) == unused

    trained = apply_method(model, method, Regularization(), seed=1, family=family)
    outputs = trained(**probe_inputs(family, IDS))
    found = [outputs.start_logits, outputs.end_logits] if family is SPANS else [outputs.logits]
    sum((value.float() ** 2).sum() for value in found).backward()

    learned = {name for name, parameter in trained.named_parameters() if parameter.requires_grad}
    assert learned
    assert {name for name, parameter in trained.named_parameters() if parameter.grad is not None} == learned


def test_layers_that_are_named_get_adapters_but_where_nothing_is_computed_with_them() -> None:
    method = Method(lora=LoraMethod(rank=2, alpha=4, target_modules=["dense", "query"]))
    trained = apply_method(warm_start(43), method, Regularization(), seed=1, family=SEQ2SEQ_LM)
    adapted = {name.partition(".lora_")[0] for name, _ in trained.named_parameters() if ".lora_" in name}
    assert any(name.endswith("encoder.layer.0.output.dense") for name in adapted)
    assert not any("pooler" in name for name in adapted)
