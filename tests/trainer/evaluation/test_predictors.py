"""Requests are answered by the predictor of their kind; a kind without one is an error."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from tests.trainer.fixtures.causal import tiny_model, tiny_tokenizer
from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.inference import OneProcess
from trainer.engine.optimizer import AdamW
from trainer.evaluation.generation import generate
from trainer.evaluation.predictors import Limits, predict
from trainer.tasks.base import Classify, Extract, Fill, Generate, Request

LIMITS = Limits(prompt_tokens=20, new_tokens=5, tokens_at_once=60)


@dataclass(frozen=True)
class Guess(Request):
    """A kind of request that nothing answers."""


def engine_of(model: Any, *, bfloat16: bool = False) -> Any:
    return DdpEngine(model, EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"), dtype=torch.bfloat16 if bfloat16 else torch.float32)


def engine() -> Any:
    return engine_of(tiny_model())


@pytest.mark.parametrize(
    "requests", [[Guess(("a",), "b")], [Guess(("a",), "b"), Generate(("a",), "b", [1, 2])], []], ids=["unknown", "mixed", "none"]
)
def test_requests_without_a_predictor_are_an_error(requests: list[Request]) -> None:
    with pytest.raises(TypeError, match="no predictor for requests of"):
        predict(engine(), tiny_tokenizer(), requests, LIMITS)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("AutoModelForQuestionAnswering", Extract(("",), "Who?", "Who?", "Ann came on Monday.")),
        ("AutoModelForSequenceClassification", Classify(("",), "", (2, 7, 3), 1, ("no", "yes"))),
        ("AutoModelForMaskedLM", Fill(("",), "", (2, 4, 3), 4)),
    ],
    ids=["found", "classified", "filled"],
)
def test_a_stop_comes_before_a_batch_of_every_kind(kind: str, asked: Request) -> None:
    called = 0

    def stop() -> None:
        nonlocal called
        called += 1
        if called == 3:
            raise InterruptedError

    model, limits = tiny_encoder(kind), replace(LIMITS, prompt_tokens=40, rows_at_once=1, tokens_at_once=None, between=stop)
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(called))
    with pytest.raises(InterruptedError):
        predict(OneProcess(model, torch.device("cpu")), bert_tokenizer(), [asked] * 4, limits)
    assert passes == [1, 2]


def test_an_answer_ends_at_the_stops_of_its_request_and_loses_its_opening() -> None:
    model, tokenizer, prompt = tiny_model(), tiny_tokenizer(), [5, 9, 21, 33]
    [free] = predict(engine(), tokenizer, [Generate(("",), "", prompt)], LIMITS)
    assert free == generate(model, tokenizer, [prompt], 5)[0]
    tokens = model.generate(torch.tensor([prompt]), max_new_tokens=5, do_sample=False)[0, len(prompt) :].tolist()
    [stopped] = predict(engine(), tokenizer, [Generate(("",), "", prompt, frozenset(tokens[2:3]))], LIMITS)
    place = tokens.index(tokens[2])
    assert stopped.text == tokenizer.decode(tokens[:place], skip_special_tokens=True).strip()
    assert not stopped.cut
    [opened] = predict(engine(), tokenizer, [Generate(("",), "", prompt, opening=tuple(tokens[:2]))], LIMITS)
    assert opened.text == tokenizer.decode(tokens[2:], skip_special_tokens=True).strip()


def test_answers_are_computed_in_the_precision_of_training() -> None:
    model, kinds = tiny_model(), set()
    model.get_input_embeddings().register_forward_hook(lambda *_: kinds.add(torch.is_autocast_enabled("cpu")))
    predict(engine_of(model, bfloat16=True), tiny_tokenizer(), [Generate(("",), "", [5, 9, 21])], LIMITS)
    assert kinds == {True}
    kinds.clear()
    predict(engine_of(model), tiny_tokenizer(), [Generate(("",), "", [5, 9, 21])], LIMITS)
    assert kinds == {False}


@pytest.mark.parametrize(("window", "longest"), [(None, 447), (100, 97)], ids=["as a prompt", "shorter"])
def test_a_window_of_a_text_is_as_long_as_a_prompt_may_be_unless_it_is_said_to_be_shorter(window: int | None, longest: int) -> None:
    model, lengths = tiny_encoder("AutoModelForQuestionAnswering", max_position_embeddings=512), list[int]()
    model.register_forward_pre_hook(lambda _, __, inputs: lengths.append(inputs["input_ids"].shape[1]), with_kwargs=True)
    limits = replace(LIMITS, prompt_tokens=450, tokens_at_once=None, window_tokens=window)

    predict(OneProcess(model, torch.device("cpu")), bert_tokenizer(), [Extract(("",), "Who?", "Who?", "Ann came on Monday. " * 40)], limits)

    assert max(lengths) == longest  # where the answer is takes three more tokens of a row
