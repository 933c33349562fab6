"""A text that is too long keeps the part around the answer."""

import pytest

from tests.trainer.fixtures.encoders import bert_tokenizer
from trainer.text.questions import ELSEWHERE, Answer, QuestionExample
from trainer.text.shortening import shortened

TOKENIZER = bert_tokenizer()
CONTEXT = "Ann came on Monday, Ben came on Tuesday, and later greetings were sent to all of them by Carl."


def asked(*answers: str) -> QuestionExample:
    return QuestionExample.of("data.train[0] line 1", "Who came?", CONTEXT, [Answer(text, CONTEXT.find(text)) for text in answers])


@pytest.mark.parametrize("answer", ["Ann", "Tuesday", "Carl", "Carl."])
@pytest.mark.parametrize("tokens", [7, 12, 30, 90, 1000])
def test_the_part_around_the_answer_is_kept(answer: str, tokens: int) -> None:
    found = shortened(asked(answer), TOKENIZER, tokens)
    assert len(found.context) == min(max(tokens, len(answer)), len(CONTEXT)), "the tokenizer has a token per byte"
    assert found.context in CONTEXT
    span = found.span
    assert span is not None
    assert found.context[span.start : span.end] == answer


def test_the_beginning_is_kept_where_no_answer_is_a_part_of_the_text() -> None:
    assert shortened(asked(), TOKENIZER, 10).context == CONTEXT[:10]
    found = shortened(asked("Dan"), TOKENIZER, 10)
    assert (found.context, found.answers) == (CONTEXT[:10], (Answer("Dan", ELSEWHERE),))


def test_question_and_id_stay() -> None:
    example = asked("Tuesday")
    found = shortened(example, TOKENIZER, 20)
    assert (found.id, found.origin, found.question) == (example.id, example.origin, example.question)
