"""Answers to rows of every source, with what was right and where each row comes from."""

from typing import Any

import pytest
import torch

from finetune.api.evaluation import Generation, TextNormalization
from finetune.api.metrics import MetricName, Needs
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import tiny_model, tiny_tokenizer
from tests.trainer.fixtures.examples import chat
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import measure
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.metrics.evidence import Answers
from trainer.tasks.chat import CHAT
from trainer.training.batches import AtOnce

CHATS = [chat(f"what is row {number}?", f"a row with number {number}", origin=f"data.test[{number % 2}] line 1") for number in range(4)]


def measured(between: Any = lambda: None, **changes: Any) -> Any:
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    examples = changes.pop("examples", CHATS)
    held_out = HeldOut(CHAT, tiny_tokenizer(), examples, [], AtOnce(2), 100, Generation(max_new_tokens=4, samples=3), **changes)
    return measure(engine, forward_of(engine), held_out, [MetricName.CER], between)


def test_answers_know_what_was_right_and_their_source() -> None:
    found = measured(normalization=TextNormalization.NONE).evidence[Needs.GENERATED_TEXT]
    assert isinstance(found, Answers)
    assert [row.references for row in found.predictions] == [(f"a row with number {number}",) for number in range(3)]
    assert [row.source for row in found.predictions] == ["data.test[0]", "data.test[1]", "data.test[0]"]
    assert found.normalization is TextNormalization.NONE


def test_a_stop_comes_before_answers_are_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    monkeypatch.setattr("trainer.evaluation.predictors.generate", lambda *_, **__: pytest.fail("an answer was generated"))
    with pytest.raises(StoppedError):
        measured(stop)


def test_every_source_is_answered_though_one_alone_has_enough_rows() -> None:
    found = measured(examples=sorted(CHATS * 2, key=lambda example: example.source)).evidence[Needs.GENERATED_TEXT]
    assert isinstance(found, Answers)
    assert [row.source for row in found.predictions] == ["data.test[0]", "data.test[0]", "data.test[1]"]
