"""Encoder-decoders are loaded, adapted and regularized as causal models are, whether T5, BART or Marian."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from finetune.api.errors import InputError
from finetune.api.sections import FullMethod, LoraMethod, Method, Packing, Regularization
from tests.trainer.fixtures.causal import located_folder
from tests.trainer.fixtures.seq2seq import KINDS, save_tiny_seq2seq, tiny_seq2seq
from trainer.engine.optimizer import parameter_groups
from trainer.model.dropout import add_block_dropout
from trainer.model.load import load_model
from trainer.model.lora import apply_method
from trainer.model.packing import padded_because
from trainer.model.recompute import recompute_activations
from trainer.objectives.base import probed_forward
from trainer.objectives.seq2seq import SEQ2SEQ_LM

VOCABULARY = 20
IDS = torch.tensor([[3, 4, 5, 6, 1]])
BLOCKS = 2 * 2 + 2 * 3
"""Two layers each: an encoder's has two blocks, a decoder's three."""

pytestmark = pytest.mark.parametrize("model_type", KINDS)


def logits(model: Any) -> Tensor:
    found: Tensor = model(input_ids=IDS, decoder_input_ids=IDS, use_cache=False).logits
    return found


def test_a_saved_model_is_loaded_whole(model_type: str, tmp_path: Path) -> None:
    folder = save_tiny_seq2seq(tmp_path / "model", model_type)
    loaded = load_model(located_folder(folder), torch.float32, SEQ2SEQ_LM).eval()
    assert torch.equal(logits(loaded), logits(tiny_seq2seq(model_type, loaded.config.vocab_size)))


def test_all_weights_are_trained_but_those_that_transformers_computes(model_type: str, tmp_path: Path) -> None:
    folder = save_tiny_seq2seq(tmp_path / "model", model_type)
    model = load_model(located_folder(folder), torch.float32, SEQ2SEQ_LM)
    whole = apply_method(model, Method(full=FullMethod()), Regularization(), 1, SEQ2SEQ_LM)
    frozen = [name for name, parameter in whole.named_parameters() if not parameter.requires_grad]
    computed = [f"model.{part}.embed_positions.weight" for part in ("encoder", "decoder")]
    assert frozen == (computed if model_type == "marian" else [])


def test_adapters_go_on_every_linear_layer_of_encoder_and_decoder(model_type: str) -> None:
    adapted = apply_method(tiny_seq2seq(model_type, VOCABULARY), Method(lora=LoraMethod(rank=2)), Regularization(), 1, SEQ2SEQ_LM).eval()
    names = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name for name in names)
    assert len(names) == 2 * 2 * (6 + 10)
    assert torch.allclose(logits(adapted), logits(tiny_seq2seq(model_type, VOCABULARY)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", ["lm_head", "shared", "embed_tokens"])
def test_adapters_on_weights_that_encoder_and_decoder_share_are_refused(model_type: str, target: str) -> None:
    method = Method(lora=LoraMethod(target_modules=[target]))
    with pytest.raises(InputError, match=r"targetModules\[0\]: .* shares its weights with"):
        apply_method(tiny_seq2seq(model_type, VOCABULARY), method, Regularization(), 1, SEQ2SEQ_LM)


def test_dropout_is_on_every_block_in_training_alone(model_type: str) -> None:
    plain, dropped = tiny_seq2seq(model_type, VOCABULARY), tiny_seq2seq(model_type, VOCABULARY)
    assert add_block_dropout(dropped, 0.5) == BLOCKS
    assert torch.equal(logits(dropped.eval()), logits(plain))
    assert not torch.allclose(logits(dropped.train()), logits(plain))


def test_dropout_of_nearly_everything_leaves_the_sources_no_influence(model_type: str) -> None:
    model = tiny_seq2seq(model_type, VOCABULARY)
    add_block_dropout(model, 0.9999999)
    model.train()
    other = model(input_ids=IDS.flip(1), decoder_input_ids=IDS, use_cache=False).logits
    assert torch.allclose(logits(model), other, atol=1e-5), "nothing but the residual is left, which the source does not reach"


def test_recomputed_activations_give_the_same_gradients(model_type: str) -> None:
    plain, recomputing = tiny_seq2seq(model_type, VOCABULARY).train(), recompute_activations(tiny_seq2seq(model_type, VOCABULARY)).train()
    for model in (plain, recomputing):
        logits(model).square().sum().backward()
    compared = [(one.grad, other.grad) for one, other in zip(plain.parameters(), recomputing.parameters(), strict=True)]
    assert all((one is None) == (other is None) for one, other in compared)
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in compared if one is not None)


def test_matrices_get_weight_decay_and_vectors_none(model_type: str) -> None:
    model = apply_method(tiny_seq2seq(model_type, VOCABULARY), Method(full=FullMethod()), Regularization(), 1, SEQ2SEQ_LM)
    decayed, exempt = parameter_groups(model, 0.1)
    assert {parameter.dim() for parameter in decayed["params"]} == {2}
    assert {parameter.dim() for parameter in exempt["params"]} == {1}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(decayed["params"]) + len(exempt["params"]) == len(trained)


def test_its_rows_are_padded_and_to_pack_them_is_refused(model_type: str) -> None:
    model = tiny_seq2seq(model_type, VOCABULARY)
    forward = probed_forward(model, lambda **inputs: pytest.fail("it was tried"), SEQ2SEQ_LM)

    def reason(wanted: Packing) -> str | None:
        return padded_because(model, forward.compute, forward.arguments, wanted, lambda found: [found])

    assert "reads two rows for each sample" in str(reason(Packing.AUTO))
    with pytest.raises(InputError, match=r"training.packing: .* reads two rows for each sample.*set it to auto"):
        reason(Packing.ALWAYS)
