"""Which parameters of real architectures are embeddings, layers and what is above them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.trainer.fixtures.causal import tiny_gpt2, tiny_model
from tests.trainer.fixtures.encoders import tiny_encoder
from tests.trainer.fixtures.seq2seq import tiny_seq2seq
from tests.trainer.fixtures.tinymodels import PACKABLE, UNPACKABLE, tiny
from trainer.model.layers import depths, embedding_names, layers_of


@pytest.mark.parametrize(
    ("build", "layers", "embeddings", "above"),
    [
        pytest.param(
            tiny_model, ["model.layers.0", "model.layers.1"], {"model.embed_tokens.weight"}, {"model.norm.weight"}, id="Llama, tied"
        ),
        pytest.param(
            lambda: tiny_model(tied=False), ["model.layers.0", "model.layers.1"], {"model.embed_tokens.weight"},
            {"model.norm.weight", "lm_head.weight"}, id="Llama, untied",
        ),
        pytest.param(
            tiny_gpt2, ["transformer.h.0", "transformer.h.1"], {"transformer.wte.weight", "transformer.wpe.weight"},
            {"transformer.ln_f.weight", "transformer.ln_f.bias"}, id="GPT-2",
        ),
        pytest.param(
            lambda: tiny_encoder("AutoModelForSequenceClassification"), ["bert.encoder.layer.0", "bert.encoder.layer.1"],
            {f"bert.embeddings.{name}" for name in ("word_embeddings.weight", "position_embeddings.weight",
             "token_type_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")},
            {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}, id="BERT",
        ),
        pytest.param(
            lambda: tiny_seq2seq("t5", 60), ["encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"], {"shared.weight"},
            {"encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight"}, id="T5",
        ),
        pytest.param(
            lambda: tiny_seq2seq("bart", 60),
            ["model.encoder.layers.0", "model.encoder.layers.1", "model.decoder.layers.0", "model.decoder.layers.1"],
            {"model.shared.weight", "model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"}, None, id="BART",
        ),
    ],
)  # fmt: skip
def test_the_parts_of_a_model(build: Callable[[], Any], layers: list[str], embeddings: set[str], above: set[str] | None) -> None:
    model = build()
    assert [name for name, _ in layers_of(model)] == layers
    assert embedding_names(model) == embeddings
    found = depths(model)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    assert above is None or {name for name, depth in found.items() if depth == 0} == above
    count = len(layers)
    for index, layer in enumerate(layers):
        inside = {depth for name, depth in found.items() if name.startswith(f"{layer}.")}
        assert inside == {count - index}
    assert {found[name] for name in embeddings} == {count + 1}


ENCODERS = ["albert", "modernbert", "roberta", "distilbert", "electra", "deberta-v2", "mpnet", "convbert", "longformer"]


@pytest.mark.parametrize("kind", [*PACKABLE, *UNPACKABLE, *ENCODERS])
def test_every_architecture_has_embeddings_and_layers_that_do_not_overlap(kind: str) -> None:
    model = tiny_encoder("AutoModelForSequenceClassification", kind) if kind in ENCODERS else tiny(kind)
    layers, embeddings = layers_of(model), embedding_names(model)
    assert len(layers) == {"albert": 1, "gemma3_text": 6}.get(kind, 2)  # those of ALBERT share their weights
    assert id(model.get_input_embeddings().weight) in {id(parameter) for name, parameter in model.named_parameters() if name in embeddings}
    inside = {name for name, _ in model.named_parameters() if name.startswith(tuple(f"{prefix}." for prefix, _ in layers))}
    assert inside
    assert not inside & embeddings
    assert set(depths(model).values()) == set(range(len(layers) + 2))
