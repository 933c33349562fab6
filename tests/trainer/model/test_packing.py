"""A packed document is computed as if it were alone, in every architecture that is packed; the others say why they are not."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finetune.api.errors import InputError
from finetune.api.sections import LoraMethod, Method, Packing, Regularization
from tests.trainer.fixtures.encoders import MASKED, classes_family, tiny_encoder
from tests.trainer.fixtures.ranks import ThreadRank, on_all_ranks
from tests.trainer.fixtures.tinymodels import PACKABLE, UNPACKABLE, VOCABULARY, tiny
from trainer.model.attention import PER_DOCUMENT, register
from trainer.model.lora import apply_method
from trainer.model.packing import padded_because
from trainer.model.recompute import recompute_activations
from trainer.objectives.base import probed_forward
from trainer.objectives.documents import Documents
from trainer.objectives.family import CAUSAL_LM, Family

LENGTHS = (9, 5, 5, 12, 1)
"""Some longer than the windows of the tiny models, two equal ones, and one of a single token."""


def packs(model: Any, wanted: Packing = Packing.AUTO, gather: Callable[[Any], list[Any]] = lambda found: [found]) -> str | None:
    forward = probed_forward(model, lambda **inputs: model(**inputs).logits, CAUSAL_LM)
    return padded_because(model, forward.compute, forward.arguments, wanted, gather)


def ids_of(lengths: Sequence[int], seed: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (1, length), generator=generator) for length in lengths]


def packed_logits(model: Any, documents: Sequence[Tensor]) -> list[Tensor]:
    inputs = Documents.of([ids.shape[1] for ids in documents]).inputs(torch.cat(list(documents), dim=1))
    return list(model(**inputs, use_cache=False).logits.split([ids.shape[1] for ids in documents], dim=1))


def gradients(model: nn.Module, logits: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a sum over the logits in which each counts differently."""
    model.zero_grad(set_to_none=True)
    generator = torch.Generator().manual_seed(6)
    sum((part.float() * torch.randn(part.shape, generator=generator)).sum() for part in logits).backward()  # type: ignore[union-attr]
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    scale = float(expected.abs().max())
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * scale), f"{what}: {float((found - expected).abs().max()) / scale:.2g}"


def assert_each_as_if_alone(alone: Any, together: Any, *, training: bool) -> None:
    documents = ids_of(LENGTHS)
    for model in (alone, together):
        model.train(training)
    expected = [alone(input_ids=ids, use_cache=False).logits for ids in documents]
    found = packed_logits(together, documents)
    for one, other in zip(found, expected, strict=True):
        assert_close(one.detach(), other.detach(), "logits")
    own, others = gradients(alone, expected), gradients(together, found)
    assert own.keys() == others.keys()
    assert own
    # The largest of all: some gradients, such as of the bias of keys, are 0 but for rounding.
    scale = max(float(gradient.abs().max()) for gradient in own.values())
    for name, gradient in own.items():
        assert torch.allclose(others[name], gradient, rtol=1e-5, atol=1e-5 * scale), name


@pytest.mark.parametrize("model_type", PACKABLE)
def test_logits_and_gradients_of_a_packed_document_are_those_of_the_document_alone(model_type: str) -> None:
    alone = tiny(model_type)
    together = copy.deepcopy(alone)
    assert packs(together) is None
    assert together.config._attn_implementation == PER_DOCUMENT
    assert_each_as_if_alone(alone, together, training=False)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
def test_that_holds_with_adapters_and_recomputed_activations(model_type: str) -> None:
    method, regularization = Method(lora=LoraMethod(rank=2)), Regularization()

    def adapted(*, recompute: bool) -> Any:
        base = recompute_activations(tiny(model_type)) if recompute else tiny(model_type)
        model = apply_method(base, method, regularization, 1, CAUSAL_LM)
        for number, (name, parameter) in enumerate(model.named_parameters()):
            if "lora_B" in name:  # which begins as 0 and would leave nothing to compare
                nn.init.normal_(parameter, 0, 0.1, generator=torch.Generator().manual_seed(number))
        return model

    together = adapted(recompute=True)
    assert packs(together) is None
    assert_each_as_if_alone(adapted(recompute=False), together, training=True)


@pytest.mark.parametrize("model_type", PACKABLE)
def test_other_documents_leave_no_bit_of_a_document_changed(model_type: str) -> None:
    model = tiny(model_type)
    assert packs(model) is None
    first, _, last = ids_of((6, 8, 5))
    with torch.no_grad():
        found = [packed_logits(model, [first, ids_of([8], seed)[0], last]) for seed in (1, 2)]
    assert not torch.equal(found[0][1], found[1][1])
    # An expert's tokens are computed at once, so that their number may change the last bits.
    tolerance = 1e-6 if model_type == "mixtral" else 0.0
    for place in (0, 2):
        assert float((found[0][place] - found[1][place]).abs().max()) <= tolerance


@pytest.mark.parametrize("family", [classes_family(), MASKED])
def test_the_rows_of_an_encoder_are_padded(family: Family) -> None:
    model = tiny_encoder(family.auto_class, **family.settings)
    forward = probed_forward(model, lambda **inputs: model(**inputs).logits, family)
    reason = padded_because(model, forward.compute, forward.arguments, Packing.AUTO, lambda found: [found])
    assert reason is not None
    assert reason.endswith("cannot read packed rows: its tokens attend to later ones")


@pytest.mark.parametrize("model_type", UNPACKABLE)
def test_a_model_that_cannot_be_packed_says_why_and_is_left_as_it_was(model_type: str) -> None:
    model = tiny(model_type)
    before = model.config._attn_implementation
    reason = packs(model)
    assert reason is not None
    assert reason.startswith(f"{type(model).__name__} cannot read packed rows: ")
    assert UNPACKABLE[model_type][1] in reason
    assert model.config._attn_implementation == before
    with pytest.raises(InputError, match="set it to auto") as refused:
        packs(model, Packing.ALWAYS)
    assert refused.value.field == "training.packing"


def test_never_leaves_the_models_own_attention() -> None:
    model = tiny("llama")
    assert packs(model, Packing.NEVER) == "training.packing is never"
    assert model.config._attn_implementation == "sdpa"


class Leaking(nn.Module):
    """Adds to each token what the one before it in the row is, whosever that is."""

    def forward(self, states: Tensor) -> Tensor:
        return states + torch.roll(states, 1, dims=1)


def test_a_model_that_mixes_documents_in_a_way_that_nobody_foresaw_is_found_by_its_logits() -> None:
    model = tiny("llama")
    model.model.norm = nn.Sequential(model.model.norm, Leaking())
    reason = packs(model)
    assert reason is not None
    assert "a document's logits are others beside other documents than alone" in reason


def test_all_ranks_pad_if_the_trial_of_one_fails() -> None:
    models = [tiny("llama"), tiny("llama")]
    models[1].model.norm = nn.Sequential(models[1].model.norm, Leaking())
    reasons = on_all_ranks(2, lambda ranks: packs(models[ranks.rank], gather=ranks.gather))
    assert reasons[0] is not None
    assert "a document's logits are others" in reasons[0]
    assert reasons[1] == reasons[0]
    assert [model.config._attn_implementation for model in models] == ["sdpa", "sdpa"]

    def refused(ranks: ThreadRank) -> str:
        with pytest.raises(InputError, match="set it to auto") as error:
            packs(models[ranks.rank], Packing.ALWAYS, ranks.gather)
        return error.value.field

    assert on_all_ranks(2, refused) == ["training.packing"] * 2


def test_a_model_whose_window_does_not_reach_its_attention_is_not_packed() -> None:
    register()
    model = tiny("mistral")
    for layer in model.model.layers:
        layer.self_attn.config = copy.deepcopy(model.config)
        layer.self_attn.config.sliding_window = None
        layer.self_attn.config._attn_implementation = PER_DOCUMENT
    assert "its attention is not told the sliding window" in (packs(model) or "")


def test_a_convolution_along_the_row_is_found_wherever_it_is() -> None:
    model = tiny("llama")
    model.model.layers[1].mlp.mix = nn.Conv1d(32, 32, 4)
    assert "model.layers.1.mlp.mix is a convolution along the row" in (packs(model) or "")


@pytest.mark.parametrize("model_type", [*PACKABLE, *UNPACKABLE])
def test_the_same_is_said_without_weights(model_type: str) -> None:
    with torch.device("meta"):
        shapes = tiny(model_type)
    known, expected = packs(shapes), packs(tiny(model_type))
    # Routing to experts reads numbers, so that without them nothing is said.
    assert known == expected or (known is None and model_type == "mixtral")


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mistral", "gemma2"])
def test_answers_and_padded_passes_are_those_of_the_models_own_attention(model_type: str) -> None:
    own = tiny(model_type)
    packable = copy.deepcopy(own)
    assert packs(packable) is None
    ids = torch.cat(ids_of([7, 7]))
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    asked: dict[str, Any] = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    assert packable.generate(ids, **asked).tolist() == own.generate(ids, **asked).tolist()
    with torch.no_grad():
        for given in ({}, {"attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3])}):
            found, expected = (model(input_ids=ids, **given).logits[:, :4] for model in (packable, own))
            assert_close(found, expected, "logits")


def test_what_is_saved_names_no_attention(tmp_path: Path) -> None:
    model = tiny("llama")
    assert packs(model) is None
    model.save_pretrained(tmp_path)
    assert PER_DOCUMENT not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
