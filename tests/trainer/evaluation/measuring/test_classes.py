"""Every row has the probabilities that it has alone, in its place, with its class and its source."""

import pytest
import torch

from finetune.api.evaluation import Generation
from finetune.api.metrics import Needs
from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import measure
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.metrics.evidence import Classified
from trainer.objectives.base import probed_forward
from trainer.tasks.text_classification import CHOSEN_CLASSES
from trainer.text.label import LabelExample
from trainer.training.batches import AtOnce

TEXTS = ["short", "a text that is rather longer than the others", "a middle one", "x", "the last text of these"]


def examples(*, several: bool) -> list[LabelExample]:
    labels = [("a",), ("b",), ("c",), ("a",), ("b",)] if not several else [("a", "c"), (), ("b",), ("a",), ("c",)]
    return [
        LabelExample.of(f"data.test[{place % 2}] line {place}", text, names, listed=several)
        for place, (text, names) in enumerate(zip(TEXTS, labels, strict=True))
    ]


@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
@pytest.mark.parametrize("at_once", [AtOnce(1), AtOnce(2), AtOnce(50), AtOnce(3, 60)], ids=["one", "two", "all", "as they fit"])
def test_each_row_has_the_probabilities_that_it_has_alone(at_once: AtOnce, several: bool) -> None:
    rows, tokenizer = examples(several=several), bert_tokenizer()
    task = CHOSEN_CLASSES.knowing(rows)
    family = task.objective.family
    model = tiny_encoder(family.auto_class, **family.settings)
    engine = DdpEngine(model, EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    engine.model.train()
    samples = [task.encode(row, tokenizer, 100)[0].tokens for row in rows]
    held_out = HeldOut(task, tokenizer, rows, samples, at_once, 100, Generation())

    found = measure(engine, probed_forward(model, engine.forward, family), held_out, task.route.metrics).evidence[Needs.CLASSES]

    assert engine.model.training
    assert isinstance(found, Classified)
    assert (found.names, found.several) == (("a", "b", "c"), several)
    names = [tuple(found.names[number] for number in row.gold) for row in found.predictions]
    assert names == [row.labels for row in rows]
    assert [row.source for row in found.predictions] == [row.source for row in rows]
    model.eval()
    for text, row in zip(TEXTS, found.predictions, strict=True):
        with torch.no_grad():
            scores = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits[0].double()
        expected = scores.sigmoid() if several else scores.softmax(dim=0)
        assert row.probabilities == pytest.approx(expected.tolist(), rel=1e-5)
