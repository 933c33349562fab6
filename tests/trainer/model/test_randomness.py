"""R-Drop is refused where its two passes would be the same, and for models that write their answers."""

from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.sections import FullMethod, LoraMethod, Method, Regularization
from tests.trainer.fixtures.causal import tiny_model
from tests.trainer.fixtures.encoders import classes_family, tiny_encoder
from tests.trainer.fixtures.seq2seq import tiny_seq2seq
from trainer.model.lora import apply_method
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.objectives.seq2seq import SEQ2SEQ_LM

FULL, FAMILY = Method(full=FullMethod()), classes_family()
NONE = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def encoder(**dropout: float) -> Any:
    return tiny_encoder(FAMILY.auto_class, **FAMILY.settings, **(NONE | dropout))


@pytest.mark.parametrize(
    ("dropout", "method", "settings"),
    [
        pytest.param({"hidden_dropout_prob": 0.1}, FULL, {}, id="of its layers"),
        pytest.param({"attention_probs_dropout_prob": 0.1}, FULL, {}, id="of its attention"),
        pytest.param({"classifier_dropout": 0.1}, FULL, {}, id="of its head"),
        pytest.param({}, Method(lora=LoraMethod(dropout=0.1)), {}, id="of the adapters"),
        pytest.param({}, FULL, {"neftuneNoiseAlpha": 5}, id="noise"),
    ],
)
def test_it_is_taken_where_two_passes_differ(dropout: dict[str, float], method: Method, settings: dict[str, float]) -> None:
    apply_method(encoder(**dropout), method, Regularization.model_validate({"rDropAlpha": 1, **settings}), 1, FAMILY)


def test_it_is_taken_with_dropout_of_the_job() -> None:
    model = tiny_encoder(FAMILY.auto_class, "modernbert", **FAMILY.settings)
    with pytest.raises(InputError, match="nothing of this model is drawn at random"):
        apply_method(model, FULL, Regularization(rDropAlpha=1), 1, FAMILY)

    apply_method(model, FULL, Regularization(rDropAlpha=1, dropout=0.1), 1, FAMILY)


@pytest.mark.parametrize("method", [FULL, Method(lora=LoraMethod())], ids=["full", "LoRA"])
def test_it_is_refused_where_nothing_is_drawn(method: Method) -> None:
    with pytest.raises(InputError, match=r"^regularization\.rDropAlpha: has no effect: nothing .*; set regularization\.dropout, such as"):
        apply_method(encoder(), method, Regularization(rDropAlpha=1), 1, FAMILY)
    apply_method(encoder(), method, Regularization(), 1, FAMILY)


@pytest.mark.parametrize(
    ("make", "family"), [(tiny_model, CAUSAL_LM), (lambda: tiny_seq2seq("t5", 320), SEQ2SEQ_LM)], ids=["causal", "encoder-decoder"]
)
def test_it_is_refused_for_models_that_write(make: Any, family: Family) -> None:
    with pytest.raises(InputError, match=r"^regularization\.rDropAlpha: R-Drop needs an encoder; \w+ generates text"):
        apply_method(make(), FULL, Regularization(rDropAlpha=1, dropout=0.1), 1, family)
