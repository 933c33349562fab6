"""Noise on the embeddings that are read: its size against the definition, and that wrappers and recomputation make no difference."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.api.errors import InputError
from finetune.api.sections import FullMethod, LoraMethod, Method, Packing, Regularization
from tests.trainer.fixtures.causal import random_prompts, tiny_gpt2, tiny_model
from tests.trainer.fixtures.encoders import tiny_encoder
from tests.trainer.fixtures.seq2seq import tiny_seq2seq
from trainer.data.rows import Sample
from trainer.model.lora import apply_method
from trainer.model.noise import add_embedding_noise, refuse_unheard_noise
from trainer.model.packing import padded_because
from trainer.model.recompute import recompute_activations
from trainer.objectives.base import arguments_of, probed_forward
from trainer.objectives.causal import CAUSAL
from trainer.objectives.family import CAUSAL_LM

ALPHA, LENGTHS = 5.0, [12, 4, 7]
FULL, LORA = Method(full=FullMethod()), Method(lora=LoraMethod(rank=2))
METHODS = pytest.mark.parametrize("method", [FULL, LORA, Method(lora=LoraMethod(rank=2, targetModules=["embed_tokens"]))],
                                  ids=["all weights", "adapters", "an adapter on the embeddings"])  # fmt: skip


def samples() -> list[Sample]:
    prompts = random_prompts(LENGTHS)
    return [Sample(f"row-{n}", ids, [True] * len(ids), 0, truncated=False, tail=0) for n, ids in enumerate(prompts)]


def embedded(model: Any, module: Any, inputs: dict[str, Any], seed: int = 1) -> list[Tensor]:
    """Return what `module` gives the rest of the model in a forward pass, call by call."""
    seen: list[Tensor] = []
    hook = module.register_forward_hook(lambda *given: seen.append(given[-1].detach()))  # after the one that adds the noise
    torch.manual_seed(seed)
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return seen


def noise_of(model: Any, module: Any, inputs: dict[str, Any], seed: int = 1) -> Tensor:
    noisy = embedded(model.train(), module, inputs, seed)[0]
    plain = embedded(model.eval(), module, inputs)[0]
    return noisy - plain


def check(noise: Tensor, length: int) -> None:
    """Check one document's noise, (tokens, width): as large as the definition says, on both sides of 0, and never alike."""
    bound = ALPHA / (length * noise.shape[-1]) ** 0.5
    assert noise.shape[0] == length
    assert 0.9 * bound < float(noise.max()) <= bound * 1.0001
    assert -0.9 * bound > float(noise.min()) >= -bound * 1.0001
    assert float(noise.std()) == pytest.approx(bound / 3**0.5, rel=0.15)  # of a uniform distribution
    assert len(noise.flatten().unique()) > 0.9 * noise.numel()


@METHODS
def test_each_row_has_noise_by_its_own_length_and_padding_has_none(method: Method) -> None:
    model: Any = apply_method(tiny_model(tied=False), method, Regularization(neftuneNoiseAlpha=ALPHA), seed=1, family=CAUSAL_LM)
    batch = CAUSAL.collate(samples())
    base = model.get_base_model() if hasattr(model, "get_base_model") else model

    noise = noise_of(model, base.get_input_embeddings(), dict(batch.inputs))

    for row, length in zip(noise, LENGTHS, strict=True):
        check(row[:length], length)
        assert not row[length:].any()


@METHODS
def test_each_document_of_a_packed_row_has_noise_by_its_own_length(method: Method) -> None:
    model: Any = apply_method(tiny_model(tied=False), method, Regularization(neftuneNoiseAlpha=ALPHA), seed=1, family=CAUSAL_LM)
    packs = padded_because(model, lambda **inputs: model(**inputs).logits, arguments_of(model), Packing.ALWAYS, lambda found: [found])
    assert packs is None
    base = model.get_base_model() if hasattr(model, "get_base_model") else model

    [noise] = noise_of(model, base.get_input_embeddings(), dict(CAUSAL.collate(samples(), packed=True).inputs))

    for document, length in zip(noise.split(LENGTHS), LENGTHS, strict=True):
        check(document, length)


@pytest.mark.parametrize("model_type", ["t5", "bart", "marian"])
def test_an_encoder_decoder_reads_with_noise_and_writes_without(model_type: str) -> None:
    model = tiny_seq2seq(model_type, 320)
    add_embedding_noise(model, ALPHA)
    ids, mask = torch.randint(5, 320, (2, 12)), torch.tensor([[1] * 12, [1] * 4 + [0] * 8])
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids[:, :6], "use_cache": False}
    reading, writing = model.get_encoder().get_input_embeddings(), model.get_decoder().get_input_embeddings()

    noise = noise_of(model, reading, inputs)

    check(noise[0], 12)
    check(noise[1, :4], 4)
    assert not noise[1, 4:].any()
    noisy, plain = embedded(model.train(), writing, inputs)[-1], embedded(model.eval(), writing, inputs)[-1]
    assert noisy.shape[1] == 6
    assert torch.equal(noisy, plain)


@pytest.mark.parametrize("make", [tiny_encoder, tiny_gpt2], ids=["BERT", "GPT-2"])
def test_a_row_without_a_mask_is_as_long_as_it_is(make: Any) -> None:
    model = make()
    add_embedding_noise(model, ALPHA)

    check(noise_of(model, model.get_input_embeddings(), {"input_ids": torch.tensor([LENGTHS])})[0], len(LENGTHS))


def test_the_noise_is_a_function_of_the_seed_of_the_step() -> None:
    model = tiny_model()
    add_embedding_noise(model, ALPHA)
    inputs = dict(CAUSAL.collate(samples()).inputs)

    one, same, other = (noise_of(model, model.get_input_embeddings(), inputs, seed) for seed in (1, 1, 2))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_without_it_nothing_is_hooked() -> None:
    model = tiny_model()

    assert add_embedding_noise(model, 0.0) is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def gradients(*, recomputed: bool, method: Method) -> dict[str, Tensor]:
    model = tiny_model(tied=False)
    if recomputed:
        recompute_activations(model)
    regularization = Regularization(neftuneNoiseAlpha=ALPHA, dropout=0.2)
    trained: Any = apply_method(model, method, regularization, seed=1, family=CAUSAL_LM)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.1)
    forward = probed_forward(trained, lambda **inputs: trained(**inputs).logits, CAUSAL_LM)
    torch.manual_seed(3)
    CAUSAL.loss(forward, CAUSAL.collate(samples())).objective.backward()
    return {name: parameter.grad for name, parameter in trained.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("method", [FULL, LORA], ids=["all weights", "adapters"])
def test_activations_are_recomputed_with_the_same_noise_and_dropout(method: Method) -> None:
    kept, recomputed = (gradients(recomputed=again, method=method) for again in (False, True))

    assert kept.keys() == recomputed.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_model_that_embeds_rows_in_a_form_of_its_own_is_refused() -> None:
    sizes = {"vocab_size": 61, "d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 48}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("xlnet", **sizes)).train()
    add_embedding_noise(model, ALPHA)

    with pytest.raises(InputError, match=r"^regularization\.neftuneNoiseAlpha: cannot act on XLNet\w+, which embeds rows in a form of its"):
        refuse_unheard_noise(model, CAUSAL_LM)


def test_a_model_that_computes_its_embeddings_elsewhere_is_refused() -> None:
    model = tiny_model().train()
    elsewhere = torch.nn.Embedding(320, 32)
    add_embedding_noise(model, ALPHA)
    refuse_unheard_noise(model, CAUSAL_LM)
    model.model.embed_tokens = elsewhere
    model = tiny_model().train()
    add_embedding_noise(model, ALPHA)
    model.model.embed_tokens = elsewhere

    with pytest.raises(InputError, match=r"^regularization\.neftuneNoiseAlpha: does not act on LlamaForCausalLM, which computes"):
        refuse_unheard_noise(model, CAUSAL_LM)
