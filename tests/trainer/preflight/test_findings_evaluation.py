"""Figures that will be missing or rough are reported before training, with the share and the value that would help."""

from dataclasses import replace
from typing import Any

import jiwer
import pytest

from tests.builders import train_config
from tests.trainer.fixtures.examples import chat, dataset, text
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.stored import examples_of
from trainer.data.records import Record
from trainer.data.rows import Example
from trainer.preflight.findings_evaluation import evaluation_findings
from trainer.preflight.limits import ModelLimits

SENTENCE = "the answer is a whole sentence"


def asked(answers: list[str], prompt: str = "question") -> list[Example]:
    return [chat(f"{prompt} {number}?", answer, origin=f"data.test[0] line {number + 1}") for number, answer in enumerate(answers)]


def said(tokenizer: Any, test: list[Example], limits: ModelLimits | None = None, **sections: Any) -> list[str]:
    """Return the findings on a job with these test rows, 50 training rows and 30 validation rows."""
    train, validation = asked([SENTENCE] * 50, "train"), asked([SENTENCE] * 30, "validation")
    settings = train_config(**sections)
    return evaluation_findings(causal_task(settings), dataset(train, validation, test), tokenizer, settings, limits or ModelLimits())


def test_answers_that_can_be_measured_need_no_words(tokenizer: Any) -> None:
    assert said(tokenizer, asked([SENTENCE] * 30)) == []


def test_how_good_transcripts_are_before_they_are_corrected_is_said(tokenizer: Any) -> None:
    settings = train_config(task="transcript-correction")
    task = causal_task(settings)
    rows = [("i sea the light of day", "i see the light of day"), ("two to two is four", "two plus two is four")]
    records = [Record(f"line {number}", {"hypothesis": given, "reference": right}) for number, (given, right) in enumerate(rows, 1)]
    examples, _ = examples_of(records, task=task)

    findings = evaluation_findings(task, dataset(examples, examples, examples), tokenizer, settings, ModelLimits())

    wer = jiwer.wer([right for _, right in rows], [given for given, _ in rows])
    cer = jiwer.cer([right for _, right in rows], [given for given, _ in rows])
    assert findings == [
        f"data.test: as they are given, without any model, the 2 rows that are answered have wer {wer:.3f} and cer {cer:.3f};"
        " that is what the model has to improve"
    ]


def test_the_rows_of_every_source_are_looked_at(tokenizer: Any) -> None:
    first, second = asked(["Yes."] * 8), [chat("question?", SENTENCE, origin="data.test[1] line 1")]
    assert said(tokenizer, [*first, *second], evaluation={"generation": {"samples": 4}}) == [
        "data.test: only 1 of 4 references (25 %) have the 4 tokens that BLEU needs; bleu says little about the others, chrf more"
    ]


OVERLAP = {"metrics": ["bleu", "chrf", "wer"]}


def test_metrics_without_sense_are_named_with_the_reason(tokenizer: Any) -> None:
    assert said(tokenizer, asked(["Yes."] * 12)) == [
        "evaluation.metrics: bleu is left out: 0 of 12 references have the 4 tokens that BLEU needs"
    ]
    assert said(tokenizer, asked(["我们用这个模型"] * 3), evaluation=OVERLAP) == [
        "evaluation.metrics: wer is left out: 3 of 3 references are in a script without spaces between words"
    ]
    assert said(tokenizer, asked(["Yes."] * 12), evaluation={"metrics": ["chrf", "wer"]}) == []


def test_few_references_with_four_tokens_are_reported_with_their_share(tokenizer: Any) -> None:
    assert said(tokenizer, asked(["Yes."] * 6 + [SENTENCE] * 2)) == [
        "data.test: only 2 of 8 references (25 %) have the 4 tokens that BLEU needs; bleu says little about the others, chrf more"
    ]
    assert said(tokenizer, asked(["Yes."] * 4 + [SENTENCE] * 4)) == []


def test_mixed_scripts_are_reported_with_how_they_are_split(tokenizer: Any) -> None:
    chinese = "我们用这个模型"
    assert said(tokenizer, asked([SENTENCE] * 2 + [chinese]), evaluation=OVERLAP) == [
        "data.test: 1 of 3 references are in a script without spaces between words, the others are not;"
        " for bleu and wer all are split between spaces"
    ]
    assert said(tokenizer, asked([SENTENCE] + [chinese] * 2), evaluation=OVERLAP)[1:] == [
        "data.test: 2 of 3 references are in a script without spaces between words, the others are not;"
        " for bleu all are split by sacrebleu's zh"
    ]


def test_references_longer_than_what_is_generated_are_reported_with_the_number_that_fits(tokenizer: Any) -> None:
    # One token a byte: 30 of a sentence, 40 of the longest.
    answers = [SENTENCE, SENTENCE + " and more.", "a short answer of words"]
    assert said(tokenizer, asked(answers), evaluation={"generation": {"maxNewTokens": 30}}) == [
        "data.test: 1 of 3 references (33.3 %) have more than the 30 tokens that may be generated"
        " (the longest 40, the first: data.test[0] line 2), so answers are cut and the text metrics are low;"
        " set evaluation.generation.maxNewTokens to 41"
    ]
    assert said(tokenizer, asked(answers), evaluation={"generation": {"maxNewTokens": 40}}) == []


def test_no_number_is_proposed_that_the_model_has_no_room_for(tokenizer: Any) -> None:
    answers = asked([SENTENCE + " and more."])
    found, *_ = said(tokenizer, answers, ModelLimits(positions=41), evaluation={"generation": {"maxNewTokens": 30}})
    assert found.endswith("so answers are cut and the text metrics are low; shorten them")


def test_lengths_do_not_matter_where_no_metric_is_left(tokenizer: Any) -> None:
    evaluation = {"metrics": ["wer"], "generation": {"maxNewTokens": 1}}
    assert said(tokenizer, asked(["我们用这个模型"]), evaluation=evaluation) == [
        "evaluation.metrics: wer is left out: 1 of 1 references are in a script without spaces between words"
    ]


def test_only_rows_that_are_answered_are_looked_at(tokenizer: Any) -> None:
    answers = [SENTENCE, SENTENCE, "x" * 500]
    assert said(tokenizer, asked(answers), evaluation={"generation": {"samples": 2}}) == []
    assert said(tokenizer, asked(answers), evaluation={"metrics": ["perplexity"]}) == []


@pytest.mark.parametrize(
    ("limits", "room", "fix"),
    [
        pytest.param(ModelLimits(), 100, "raise training.maxSequenceLength", id="by the job"),
        pytest.param(
            ModelLimits(positions=120), 80, "the model has 120 positions: shorten the prompts, or lower evaluation.generation.maxNewTokens",
            id="by the model",
        ),
    ],
)  # fmt: skip
def test_prompts_that_lose_their_beginning_are_reported(tokenizer: Any, limits: ModelLimits, room: int, fix: str) -> None:
    test = [*asked([SENTENCE] * 3), chat("q" * 120, SENTENCE, origin="data.test[0] line 4")]
    sections = {
        "training": {"epochs": 1, "globalBatchSize": 2, "maxSequenceLength": 100},
        "evaluation": {"generation": {"maxNewTokens": 40}},
    }
    assert said(tokenizer, test, limits, **sections) == [
        f"data.test: 1 of 4 prompts (25 %) have more than {room} tokens and are answered without their beginning"
        f" (the first: data.test[0] line 4); {fix}"
    ]


@pytest.mark.parametrize(
    ("steps", "every", "patience", "acts"),
    [
        pytest.param(30, 10, 1, True, id="stops at the second of three"),
        pytest.param(30, 10, 2, False, id="the third validation is the end"),
        pytest.param(30, 7, 3, True, id="stops at step 28"),
        pytest.param(28, 7, 3, False, id="step 28 is the end"),
        pytest.param(5, 1, 3, True, id="every step"),
        pytest.param(3, 1, 3, False, id="too few steps"),
        pytest.param(100, None, 3, False, id="once an epoch, and four epochs"),
        pytest.param(101, None, 3, True, id="once an epoch, and a step more"),
    ],
)
def test_early_stopping_that_cannot_act_is_reported(tokenizer: Any, steps: int, every: int | None, patience: int, acts: bool) -> None:
    found = said(
        tokenizer, asked([SENTENCE] * 30), training={"maxSteps": steps, "globalBatchSize": 2}, evaluation={"everySteps": every},
        regularization={"earlyStopping": {"patience": patience}},
    )  # fmt: skip
    assert [finding.partition(":")[0] for finding in found] == ([] if acts else ["regularization.earlyStopping"])


def test_what_early_stopping_would_need_is_said(tokenizer: Any) -> None:
    found = said(
        tokenizer, asked([SENTENCE] * 30), training={"maxSteps": 30, "globalBatchSize": 2}, evaluation={"everySteps": 10},
        regularization={"earlyStopping": {"patience": 5}},
    )  # fmt: skip
    assert found == [
        "regularization.earlyStopping: cannot act: a run of 30 steps is validated 3 times, every 10 steps, and patience 5 needs 6"
        " validations before the last step; lower evaluation.everySteps or patience"
    ]


def test_an_interval_longer_than_the_run_is_reported_once(tokenizer: Any) -> None:
    sections: dict[str, Any] = {"training": {"maxSteps": 2, "globalBatchSize": 2}, "evaluation": {"everySteps": 100}}
    more = "evaluation.everySteps: 100 is more than the 2 steps of the run, so validation comes once, at the end"
    assert said(tokenizer, asked([SENTENCE] * 30), **sections) == [f"{more}; set it to less"]
    assert said(tokenizer, asked([SENTENCE] * 30), **sections, regularization={"earlyStopping": {}}) == [
        f"{more}, and regularization.earlyStopping cannot act; set it to less"
    ]


def test_settings_that_nothing_uses_are_reported(tokenizer: Any) -> None:
    generation: dict[str, Any] = {"generation": {"maxNewTokens": 5}}
    assert said(tokenizer, asked([SENTENCE]), evaluation={"metrics": ["perplexity"], **generation}) == [
        "evaluation.generation: without effect, none of evaluation.metrics needs generated answers"
    ]
    texts = [text(f"a text with number {number}") for number in range(3)]
    settings = train_config(task="language-modeling", evaluation={"everySteps": 5, **generation})
    assert evaluation_findings(causal_task(settings), dataset(texts, [], texts), tokenizer, settings, ModelLimits()) == [
        "evaluation.everySteps: without effect, there are no validation rows; give data.validationFraction",
        "evaluation.generation: without effect, no answers are generated for task language-modeling",
    ]


@pytest.mark.parametrize("side", ["general", "domain"])
def test_an_interval_at_which_plain_texts_are_measured_has_an_effect(tokenizer: Any, side: str) -> None:
    texts = [text(f"a text with number {number}") for number in range(3)]
    settings = train_config(task="language-modeling", evaluation={"everySteps": 5})
    given = replace(dataset(texts, [], texts), **{side: texts})
    assert evaluation_findings(causal_task(settings), given, tokenizer, settings, ModelLimits()) == []


def test_an_interval_at_which_the_stage_of_a_corpus_is_validated_has_an_effect(tokenizer: Any) -> None:
    rows, corpus = asked([SENTENCE] * 5), {"sources": [{"path": "/texts"}], "maxSteps": 9}
    for section in ({"corpus": corpus}, {"replay": {"sources": [{"path": "/rows"}]}}):
        settings = train_config(evaluation={"everySteps": 5}, domainAdaptation=section)
        findings = evaluation_findings(causal_task(settings), dataset(rows, [], rows), tokenizer, settings, ModelLimits())
        assert any(finding.startswith("evaluation.everySteps: without effect") for finding in findings) is ("corpus" not in section)
