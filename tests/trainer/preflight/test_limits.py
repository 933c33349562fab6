"""Rows and tokens that the model cannot take in are refused or reported before a worker meets them."""

from dataclasses import replace
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName, Needs
from finetune.api.tasks import ModelFamily, Route
from tests.builders import train_config
from tests.trainer.fixtures.examples import chat, dataset, tokenize
from tests.trainer.fixtures.learned import causal_task
from trainer.data.rows import Sample
from trainer.preflight.doctor import examine
from trainer.preflight.limits import ModelLimits, limit_findings, longest_of

ROWS = [chat(f"question {number}?", f"answer {number}") for number in range(40)]
LONG = chat("question?", "a" * 400)


def findings(tokenizer: Any, limits: ModelLimits, max_length: int = 1024, **evaluation: Any) -> list[str]:
    job = train_config(training={"epochs": 1, "globalBatchSize": 2, "maxSequenceLength": max_length}, evaluation=evaluation)
    said = examine(
        causal_task(job),
        dataset([*ROWS, LONG], test=[chat(f"test {number}?", "yes it is") for number in range(40)]),
        tokenizer,
        job,
        limits,
    )
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


@pytest.mark.parametrize("families", [("seq2seq", 12, 5), ("encoder", 12, 0)], ids=lambda found: found[0])
def test_what_a_model_reads_is_counted_without_the_targets_that_follow_it(families: tuple[str, int, int]) -> None:
    name, read, written = families
    family = ModelFamily.SEQ2SEQ if name == "seq2seq" else ModelFamily.ENCODER
    route = Route(family, (Needs.TOKEN_SUMS,), MetricName.PERPLEXITY)
    rows = [Sample("a", [3] * 17, [0] * 12 + [1] * 5, 5, False, tail=5), Sample("b", [3] * 9, [0] * 8 + [1], 5, False, tail=1)]
    assert longest_of([rows, rows[1:]], route) == (read, written)
    whole = [replace(row, tail=0) for row in rows]
    assert longest_of([whole], replace(route, family=ModelFamily.CAUSAL)) == (17, 0)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        pytest.param(ModelLimits(11, 99, fixed=True), "rows of 12 tokens, but the model has positions for 11; set it to 11", id="read"),
        pytest.param(ModelLimits(99, 4, fixed=True), "answers of 5 tokens, but the model has positions for 4; set it to 4", id="written"),
    ],
)
def test_source_and_target_of_an_encoder_decoder_are_limited_apart(tokenizer: Any, limits: ModelLimits, problem: str) -> None:
    route = Route(ModelFamily.SEQ2SEQ, (Needs.TOKEN_SUMS,), MetricName.PERPLEXITY)
    rows, job = [Sample("a", [3] * 17, [0] * 12 + [1] * 5, 5, False, tail=5)], train_config(evaluation={"metrics": ["perplexity"]})
    assert limit_findings([rows], tokenizer, job, route, ModelLimits(12, 5, fixed=True)) == []
    with pytest.raises(InputError, match=problem):
        limit_findings([rows], tokenizer, job, route, limits)
    [said] = limit_findings([rows], tokenizer, job, route, replace(limits, fixed=False))
    assert said.endswith("it was not trained for later ones")


def test_answers_that_a_decoder_has_no_positions_for_are_refused(tokenizer: Any) -> None:
    route = Route(ModelFamily.SEQ2SEQ, (Needs.TOKEN_SUMS, Needs.GENERATED_TEXT), MetricName.PERPLEXITY, (MetricName.CHRF,))
    job = train_config(evaluation={"generation": {"maxNewTokens": 40}})
    assert limit_findings([], tokenizer, job, route, ModelLimits(20, 41, fixed=True)) == []
    with pytest.raises(InputError, match=r"maxNewTokens: answers of 40 new tokens do not fit the 40 positions of the model's decoder"):
        limit_findings([], tokenizer, job, route, ModelLimits(20, 40, fixed=True))
