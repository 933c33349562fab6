"""A model of each kind is tried on any tokens, and gives its logits."""

from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig

from finetune.api.tasks import ModelFamily
from trainer.objectives.family import CAUSAL_LM, Family, configured, probe_inputs
from trainer.outputs import logits_of

SMALL = {"vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BART = SMALL | {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
BERT = SMALL | {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
GPT2 = SMALL | {"n_embd": 8, "n_layer": 1, "n_head": 2}
SEQ2SEQ = Family(ModelFamily.SEQ2SEQ, "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM")
CLASSES = Family(ModelFamily.ENCODER, "AutoModelForSequenceClassification", "SEQ_CLS", settings={"num_labels": 3})
SPANS = Family(ModelFamily.ENCODER, "AutoModelForQuestionAnswering", "QUESTION_ANS")


@pytest.mark.parametrize(
    ("family", "model_type", "settings", "shape"),
    [
        pytest.param(CAUSAL_LM, "gpt2", GPT2, (2, 5, 20), id="causal"),
        pytest.param(SEQ2SEQ, "bart", BART, (2, 5, 20), id="encoder-decoder"),
        pytest.param(CLASSES, "bert", BERT, (2, 3), id="classes"),
        pytest.param(SPANS, "bert", BERT, (2, 5, 2), id="spans"),
    ],
)
def test_a_model_of_every_kind_is_tried_on_tokens(
    family: Family, model_type: str, settings: dict[str, Any], shape: tuple[int, ...]
) -> None:
    config = AutoConfig.for_model(model_type, **settings)
    model = getattr(transformers, family.auto_class).from_config(configured(config, family))

    logits = logits_of(model(**probe_inputs(family, torch.full((2, 5), 3))))

    assert tuple(logits.shape) == shape
