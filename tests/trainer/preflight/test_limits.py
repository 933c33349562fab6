"""Rows and tokens that the model cannot take in are refused or reported before a worker meets them."""

from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.examples import chat, dataset, tokenize
from trainer.preflight.doctor import examine
from trainer.preflight.limits import ModelLimits

ROWS = [chat(f"question {number}?", f"answer {number}") for number in range(40)]
LONG = chat("question?", "a" * 400)


def findings(tokenizer: Any, limits: ModelLimits, max_length: int = 1024, **evaluation: Any) -> list[str]:
    job = train_config(training={"epochs": 1, "globalBatchSize": 2, "maxSequenceLength": max_length}, evaluation=evaluation)
    said = examine(dataset([*ROWS, LONG], test=[chat(f"test {number}?", "yes it is") for number in range(40)]), tokenizer, job, limits)
    return [finding for finding in said if "positions" in finding or "vocabulary" in finding]


def test_rows_that_the_model_has_no_positions_for_are_refused(tokenizer: Any) -> None:
    length = len(tokenize(LONG, tokenizer, 1024).input_ids)
    assert findings(tokenizer, ModelLimits(length, fixed=True)) == []
    problem = rf"training\.maxSequenceLength: allows rows of {length} tokens, but the model has positions for 300; set it to 300 or less"
    with pytest.raises(InputError, match=problem):
        findings(tokenizer, ModelLimits(300, fixed=True))


def test_rows_that_are_cut_to_the_models_positions_are_sound(tokenizer: Any) -> None:
    assert findings(tokenizer, ModelLimits(300, fixed=True), max_length=300) == []


def test_rows_beyond_a_context_that_can_be_left_are_reported(tokenizer: Any) -> None:
    said = findings(tokenizer, ModelLimits(300))
    assert len(said) == 1
    assert said[0].startswith("training.maxSequenceLength: allows rows of")


def test_answers_that_leave_no_room_for_their_prompt_are_refused(tokenizer: Any) -> None:
    problem = r"evaluation\.generation\.maxNewTokens: 128 new tokens leave no room for a prompt in the model's 100 positions"
    with pytest.raises(InputError, match=problem):
        findings(tokenizer, ModelLimits(100, fixed=True), max_length=64)
    assert findings(tokenizer, ModelLimits(100, fixed=True), max_length=64, generation={"maxNewTokens": 20}) == []


def test_a_token_that_the_model_has_no_embedding_for_is_refused(tokenizer: Any) -> None:
    assert findings(tokenizer, ModelLimits(vocabulary=len(tokenizer))) == []
    highest = max(token for row in [*ROWS, LONG] for token in tokenize(row, tokenizer, 1024).input_ids)
    with pytest.raises(
        InputError, match=rf"model: the rows have the token .* with id {highest}, but the model's vocabulary ends before 10;"
    ):
        findings(tokenizer, ModelLimits(vocabulary=10))


def test_tokens_of_the_tokenizer_alone_are_reported(tokenizer: Any) -> None:
    said = findings(tokenizer, ModelLimits(vocabulary=len(tokenizer) - 1))
    assert said == [
        f"model: its tokenizer has {len(tokenizer)} tokens but its vocabulary only {len(tokenizer) - 1}; a row with a token beyond it fails"
    ]


def test_the_room_for_answers_does_not_matter_where_none_are_generated(tokenizer: Any) -> None:
    assert findings(tokenizer, ModelLimits(100, fixed=True), max_length=64, metrics=["perplexity"]) == []
