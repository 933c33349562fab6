"""Texts in use get the class that the model scores highest, whatever they are computed with."""

from typing import Any

import pytest
import torch

from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.engine.inference import OneProcess
from trainer.evaluation.labels import Labelled
from trainer.evaluation.predictors import Limits, predict
from trainer.tasks.text_classification import CHOSEN_CLASSES
from trainer.text.label import LabelExample

TEXTS = ["short", "a text that is rather longer than the others", "a middle one", "x"]


def asked(*, several: bool) -> tuple[Any, list[Any]]:
    rows = [LabelExample.of(f"line {place}", text, ["abc"[place % 3]], listed=several) for place, text in enumerate(TEXTS)]
    task = CHOSEN_CLASSES.knowing(rows)
    family = task.objective.family
    model = tiny_encoder(family.auto_class, **family.settings)
    return OneProcess(model, torch.device("cpu")), [task.ask(row, bert_tokenizer()) for row in rows]


@pytest.mark.parametrize("rows_at_once", [1, 2, 4])
@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
def test_the_class_of_a_text_is_the_one_that_scores_highest(rows_at_once: int, several: bool) -> None:
    engine, requests = asked(several=several)

    found = predict(engine, bert_tokenizer(), requests, Limits(1000, 8, None, rows_at_once))

    for text, answer in zip(TEXTS, found, strict=True):
        assert isinstance(answer, Labelled)
        with torch.no_grad():
            scores = engine.model(**bert_tokenizer()(text, return_tensors="pt", return_token_type_ids=False)).logits[0].double()
        expected = dict(zip("abc", (scores.sigmoid() if several else scores.softmax(dim=0)).tolist(), strict=True))
        assert dict(answer.scores) == pytest.approx(expected, rel=1e-5)
        if several:
            assert set(answer.labels) == {name for name, score in expected.items() if score >= 0.5}
            assert answer.to_wire()["labels"] == list(answer.labels)
        else:
            assert answer.to_wire()["label"] == answer.text == max(expected, key=lambda name: expected[name])


def test_of_a_text_that_is_too_long_the_beginning_is_read_up_to_the_token_that_ends_it() -> None:
    engine, [_, long, *_] = asked(several=False)
    ids = [*long.text_ids[:9], long.text_ids[-1]]

    [found] = predict(engine, bert_tokenizer(), [long], Limits(10, 8, None))

    with torch.no_grad():
        expected = engine.model(input_ids=torch.tensor([ids])).logits[0].double().softmax(dim=0)
    assert isinstance(found, Labelled)
    assert sorted(found.scores.values()) == pytest.approx(sorted(expected.tolist()), rel=1e-5)
