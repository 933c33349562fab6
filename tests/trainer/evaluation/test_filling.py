"""A text in use gets the most probable token at each place that it lacks one."""

import torch

from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.engine.inference import OneProcess
from trainer.evaluation.filling import Filled
from trainer.evaluation.predictors import Limits, predict
from trainer.tasks.language_modeling import MASKED_LANGUAGE_MODELING
from trainer.text.example import TextExample


def test_each_place_gets_its_most_probable_token() -> None:
    tokenizer, model = bert_tokenizer(), tiny_encoder("AutoModelForMaskedLM")
    engine = OneProcess(model, torch.device("cpu"))
    texts = ["a [MASK] and [MASK].", "no place"]
    requests = [MASKED_LANGUAGE_MODELING.ask(TextExample.of("line", text), tokenizer) for text in texts]

    first, second = predict(engine, tokenizer, requests, Limits(1000, 8, None))

    assert isinstance(first, Filled)
    assert isinstance(second, Filled)
    with torch.no_grad():
        scores = model(**tokenizer("a [MASK] and [MASK].", return_tensors="pt", return_token_type_ids=False)).logits[0]
    places = [index for index, token in enumerate(tokenizer("a [MASK] and [MASK].")["input_ids"]) if token == tokenizer.mask_token_id]
    assert [found[0][0] for found in first.places] == [tokenizer.decode([int(scores[place].argmax())]).strip() for place in places]
    assert (second.text, second.places) == ("no place", ())
