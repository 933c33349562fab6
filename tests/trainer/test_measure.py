"""What is measured is what was asked for, and a chat's report has answers to show whatever was asked for."""

from typing import Any

import pytest
import torch

from tests.trainer.data.builders import chat, text
from tests.trainer.model.builders import tiny_model, tiny_tokenizer
from trainer.config.sections import Evaluation, Task
from trainer.data import Example, prompt_and_reference, tokenize
from trainer.engine import OptimizerSettings
from trainer.engine.ddp import DdpEngine
from trainer.evaluation import generate
from trainer.measure import Measurement, measure

CHATS = [chat(f"what is row {number}?", f"a row with number {number}") for number in range(5)]


def measured(examples: list[Example], task: Task, **evaluation: Any) -> Measurement:
    engine = DdpEngine(tiny_model(), OptimizerSettings(0.0, 1.0, 4, 1), torch.device("cpu"), bfloat16=False)
    tokenizer, wanted = tiny_tokenizer(), Evaluation.model_validate({"generation": {"maxNewTokens": 6, "samples": 4}} | evaluation)
    rows = [tokenize(example, tokenizer, 100) for example in examples]
    return measure(engine, tokenizer, examples, rows, task, wanted, batch_size=2)


@pytest.mark.parametrize(
    ("metrics", "names", "answers"),
    [
        pytest.param(None, {"bleu", "chrf", "wer"}, 4, id="all by default"),
        pytest.param(["chrf"], {"chrf"}, 4, id="one of them"),
        pytest.param(["perplexity"], set(), 3, id="none, and three answers for the report"),
    ],
)
def test_a_chat_is_measured_by_perplexity_and_the_metrics_asked_for(metrics: list[str] | None, names: set[str], answers: int) -> None:
    found = measured(CHATS, Task.CHAT, metrics=metrics)
    assert set(found.figures()) == {"perplexity", "bitsPerByte"} | names
    prompts, references = zip(*(prompt_and_reference(example, tiny_tokenizer()) for example in CHATS[:answers]), strict=True)
    assert [answer.answer for answer in found.answers] == generate(tiny_model(), tiny_tokenizer(), prompts, 6, 1)
    assert [answer.reference for answer in found.answers] == list(references)


def test_fewer_answers_than_the_report_shows_are_generated_where_fewer_are_wanted() -> None:
    found = measured(CHATS, Task.CHAT, metrics=["perplexity"], generation={"maxNewTokens": 2, "samples": 1})
    assert len(found.answers) == 1


def test_plain_text_is_measured_by_perplexity_alone() -> None:
    found = measured([text("a job trains a model"), text("a checkpoint")], Task.LANGUAGE_MODELING)
    assert set(found.figures()) == {"perplexity", "bitsPerByte"}
    assert found.answers == ()
