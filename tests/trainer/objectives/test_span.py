"""The loss of spans: cross-entropy of two positions over the tokens that are read, whatever the padding."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from finetune.api.sections import LoraMethod, Method, Regularization
from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.data.rows import Sample
from trainer.data.spanrow import span_sample
from trainer.model.lora import apply_method
from trainer.objectives.base import Forward, arguments_of
from trainer.objectives.penalties import Penalties
from trainer.objectives.span import SPAN
from trainer.outputs import logits_of

TOKENIZER = bert_tokenizer()
TOKENIZER.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
ROWS = [("Who?", "Ann came.", (6, 8)), ("When did Ben come?", "Ben came on Monday.", (0, 0)), ("Who?", "B", (6, 6))]


def sample(question: str, context: str, targets: tuple[int, int]) -> Sample:
    ids = TOKENIZER(question, context)["input_ids"]
    return span_sample(question, ids, len(question) + 2, targets, truncated=False)


SAMPLES = [sample(*row) for row in ROWS]


def forward_of(model: Any) -> Forward:
    return Forward(lambda **inputs: logits_of(model(**inputs)), arguments_of(model))


@pytest.fixture(params=["bert", "roberta", "distilbert"])
def model(request: pytest.FixtureRequest) -> Any:
    settings = {"type_vocab_size": 2} if request.param == "roberta" else {}
    return tiny_encoder("AutoModelForQuestionAnswering", request.param, **settings)


def plain(model: Any, question: str, context: str, targets: tuple[int, int]) -> float:
    """Return the loss of one row as transformers' tokenizer and torch compute it."""
    inputs = TOKENIZER(question, context, return_tensors="pt")
    if "token_type_ids" not in arguments_of(model):
        del inputs["token_type_ids"]
    found = model(**inputs)
    ends = zip((found.start_logits, found.end_logits), targets, strict=True)
    return sum(float(functional.cross_entropy(scores, torch.tensor([target])).detach()) for scores, target in ends)


def test_the_loss_of_a_batch_is_that_of_its_rows_alone(model: Any) -> None:
    batch = SPAN.collate(SAMPLES)
    sums = SPAN.loss(forward_of(model), batch)
    assert (batch.units, batch.tokens) == (6, sum(len(row.input_ids) - 3 for row in SAMPLES))
    expected = [plain(model, *row) for row in ROWS]
    assert float(sums.nll.detach()) == pytest.approx(sum(expected), rel=1e-5)
    assert SPAN.nll(forward_of(model), batch).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_row_without_targets_has_no_part_in_loss_and_likelihood(model: Any) -> None:
    ids = TOKENIZER("Who?", "Nobody.")["input_ids"]
    lacking, forward = span_sample("lacking", ids, 0, None, truncated=False), forward_of(model)
    batch = SPAN.collate([*SAMPLES, lacking])
    assert batch.units == 6
    for smoothing in (0.0, 0.1):
        expected, found = (SPAN.loss(forward, SPAN.collate(rows), Penalties(smoothing)) for rows in (SAMPLES, [*SAMPLES, lacking]))
        assert float(found.nll.detach()) == pytest.approx(float(expected.nll.detach()), rel=1e-5)
        assert float(found.objective.detach()) == pytest.approx(float(expected.objective.detach()), rel=1e-5)
    assert SPAN.nll(forward, batch).tolist() == pytest.approx([*(plain(model, *row) for row in ROWS), 0.0], rel=1e-5)


def test_smoothing_spreads_over_the_tokens_that_are_read(model: Any) -> None:
    forward = forward_of(model)
    together = SPAN.loss(forward, SPAN.collate(SAMPLES), Penalties(0.1))
    alone = [SPAN.loss(forward, SPAN.collate([row]), Penalties(0.1)) for row in SAMPLES]
    assert float(together.objective.detach()) == pytest.approx(sum(float(sums.objective.detach()) for sums in alone), rel=1e-5)
    inputs = TOKENIZER(*ROWS[0][:2], return_tensors="pt")
    found = model(**{name: value for name, value in inputs.items() if name in arguments_of(model)})
    ends = zip((found.start_logits, found.end_logits), ROWS[0][2], strict=True)
    smoothed = sum(float(functional.cross_entropy(scores, torch.tensor([target]), label_smoothing=0.1).detach()) for scores, target in ends)
    assert float(alone[0].objective.detach()) == pytest.approx(smoothed, rel=1e-5)


def test_rows_are_never_packed() -> None:
    with pytest.raises(ValueError, match="cannot be packed"):
        SPAN.collate(SAMPLES, packed=True)


def test_a_model_with_adapters_is_told_which_text_a_token_is_of() -> None:
    model, batch = tiny_encoder("AutoModelForQuestionAnswering"), SPAN.collate(SAMPLES)
    expected = SPAN.nll(forward_of(model), batch).tolist()
    untold = SPAN.nll(Forward(lambda **inputs: logits_of(model(**inputs)), arguments_of(model) - {"token_type_ids"}), batch).tolist()
    adapted = apply_method(model, Method(lora=LoraMethod(rank=4, alpha=8)), Regularization(), 0, SPAN.family).eval()
    with torch.no_grad():
        assert SPAN.nll(forward_of(adapted), batch).tolist() == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(untold, rel=1e-3)
