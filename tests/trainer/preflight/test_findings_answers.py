"""Several questions about one text contradict each other as little as several prompts do; the same question twice does."""

import pytest

from tests.trainer.fixtures.stored import stored
from trainer.preflight.findings_answers import answer_findings
from trainer.text.questions import Answer, QuestionExample

CONTEXT = "Ann came on Monday, Ben on Tuesday."


def asked(question: str, answer: str, context: str = CONTEXT) -> QuestionExample:
    return QuestionExample.of(f"data.train[0] {question} {answer}", question, context, [Answer(answer)])


@pytest.mark.parametrize("on_disk", [True, False])
def test_only_the_same_question_about_the_same_text_has_several_answers(on_disk: bool) -> None:
    rows = [asked("Who came first?", "Ann"), asked("Who came last?", "Ben"), asked("Who came first?", "Carl", "Carl came.")]
    assert answer_findings(stored(rows) if on_disk else rows) == []
    again = [*rows, asked("Who came last?", "Dan")]
    first = "(the first: data.train[0] Who came last? Ben)"
    assert answer_findings(stored(again) if on_disk else again) == [
        f"data.train: 1 prompt has several different answers {first}; the model learns a mixture of them"
    ]
