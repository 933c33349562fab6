"""The lines of predictions.jsonl: what each row asked, what was right, and what both models said."""

import json

import pytest

from finetune.api.metrics import Needs
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.evidence import Answers, Classified, ClassPrediction, Prediction
from trainer.reporting.predictions import json_lines, predictions_of
from trainer.text.example import TextExample
from trainer.text.questions import QuestionExample

ROWS = [TextExample.of(f"data.test[0] line {line}", "so so") for line in range(2)]
NAMES = ("bad", "fair", "good", "great")


def answered(*answers: str, needs: Needs = Needs.GENERATED_TEXT) -> Measurement:
    """Return a measurement of rows that were answered in text; the last answer was cut."""
    rows = [
        Prediction(f"question {row}", (f"right {row}", "also"), answer, row == len(answers) - 1, "data.test[0]", "en-de")
        for row, answer in enumerate(answers)
    ]
    return Measurement(evidence={needs: Answers(tuple(rows))})


def classified(*rows: tuple[float, ...], several: bool = False) -> Measurement:
    found = tuple(ClassPrediction((2,), row, "data.test[1]") for row in rows)
    return Measurement(evidence={Needs.CLASSES: Classified(NAMES, found, several)})


def test_an_answer_in_text_has_both_models_words_beside_every_reference() -> None:
    first, second = predictions_of(answered("a", "b"), answered("c", "d"), ROWS[:2])

    assert first == {
        "input": "question 0", "references": ["right 0", "also"], "base": "a", "tuned": "c", "baseCut": False, "tunedCut": False,
        "source": "data.test[0]", "group": "en-de",
    }  # fmt: skip
    assert (second["base"], second["tuned"], second["tunedCut"]) == ("b", "d", True)


def test_spans_are_written_as_answers() -> None:
    [line] = predictions_of(answered("", needs=Needs.SPANS), answered("span", needs=Needs.SPANS), ROWS[:1])

    assert (line["base"], line["tuned"]) == ("", "span")


@pytest.mark.parametrize("needs", [Needs.SPANS, Needs.GENERATED_TEXT])
def test_a_question_about_a_text_has_the_text_beside_it(needs: Needs) -> None:
    rows = [
        QuestionExample.of(f"data.test[{source}] line {line}", "who?", f"text {source}.{line}", ())
        for source in range(2)
        for line in range(2)
    ]
    every, some = (answered(*"abcd"[:count], needs=needs) for count in (4, 2))

    assert [line["context"] for line in predictions_of(every, every, rows)] == ["text 0.0", "text 0.1", "text 1.0", "text 1.1"]
    assert [line["context"] for line in predictions_of(some, some, rows)] == ["text 0.0", "text 1.0"], "those that are asked in turn"


def test_a_question_without_an_answer_has_no_reference() -> None:
    found = Measurement(evidence={Needs.SPANS: Answers((Prediction("who?", ("",), ""),))})

    [line] = predictions_of(found, found, [QuestionExample.of("data.test[0] line 1", "who?", "nobody", ())])

    assert line["references"] == []


def test_a_class_has_the_text_the_labels_and_the_likeliest_classes() -> None:
    examples = [TextExample.of("data.test[1] line 1", "so so")]

    [line] = predictions_of(classified((0.4, 0.3, 0.2, 0.1)), classified((0.1, 0.2, 0.6, 0.1)), examples)

    assert (line["input"], line["labels"], line["base"], line["tuned"]) == ("so so", ["good"], ["bad"], ["good"])
    assert line["tunedProbabilities"][0] == {"label": "good", "probability": 0.6}
    assert [found["label"] for found in line["baseProbabilities"]] == ["bad", "fair", "good"]
    assert line["source"] == "data.test[1]"


def test_of_several_labels_every_chosen_one_is_given() -> None:
    every = classified((0.9, 0.8, 0.7, 0.6), several=True)

    [line] = predictions_of(classified((0.1, 0.1, 0.1, 0.1), several=True), every, [TextExample.of("", "x")])

    assert (line["base"], line["tuned"]) == ([], list(NAMES))
    assert len(line["tunedProbabilities"]) == 4


def test_rows_that_were_only_read_have_no_line() -> None:
    assert predictions_of(Measurement(), Measurement(), []) == []
    assert predictions_of(Measurement(), answered("a"), []) == [], "the base model was asked nothing"


def test_each_line_is_json_whatever_was_said() -> None:
    lines = predictions_of(answered("two\nlines", '„quoted" \u2028'), answered("", "\x00"), ROWS[:2])

    assert [json.loads(line) for line in json_lines(lines).removesuffix("\n").split("\n")] == lines
