"""The samples of a question: the answer's tokens in each window that holds it, and the first token in the others."""

from pathlib import Path

import pytest
from tokenizers import normalizers

from tests.trainer.fixtures.encoders import bert_tokenizer
from tests.trainer.fixtures.stored import examples_of
from trainer.data.formats import read_file
from trainer.tasks.registry import reader_of
from trainer.text.questions import Answer, QuestionExample
from trainer.text.spans import count_windows, span_pieces, varied_span
from trainer.text.windows import windows_of

TOKENIZER = bert_tokenizer()
CONTEXT = "Ann came on Monday, Ben came on Tuesday, and later greetings were sent to all of them by Carl."


def asked(*answers: str, context: str = CONTEXT) -> QuestionExample:
    return QuestionExample.of("data.train[0] line 1", "Who came?", context, [Answer(answer, context.find(answer)) for answer in answers])


def targets(example: QuestionExample, length: int) -> list[tuple[str, bool]]:
    """Return the text at the targets of each piece, empty for the first token, and whether it is truncated."""
    found = []
    for piece in span_pieces(example, TOKENIZER, length):
        ids = list(piece.tokens.input_ids)
        first, last = ids[-2:]
        assert list(piece.tokens.loss_mask) == [0] * (len(ids) - 2) + [1, 1]
        found.append((TOKENIZER.decode(ids[first : last + 1]) if last else "", piece.tokens.truncated))
    return found


def test_the_targets_are_the_answer_in_each_window_that_holds_it() -> None:
    found = targets(asked("Tuesday"), 50)
    assert {text for text, _ in found} == {"", "Tuesday"}
    assert not any(truncated for _, truncated in found)
    assert targets(asked("Tuesday"), 400) == [("Tuesday", False)]


def test_the_first_answer_that_is_a_part_of_the_context_is_learned() -> None:
    assert targets(asked("Dan", "Ben", "Ann"), 400) == [("Ben", False)]


def test_a_question_without_answer_has_the_first_token_as_targets_everywhere() -> None:
    assert set(targets(asked(), 50)) == {("", False)}


@pytest.mark.parametrize(
    ("context", "answer"), [(CONTEXT, "Dan"), ("Ann came.\u0001\u0002", "\u0001\u0002")], ids=["elsewhere", "no token"]
)
@pytest.mark.parametrize("length", [40, 400])
def test_a_window_without_a_token_of_any_answer_is_not_one_without_answer(context: str, answer: str, length: int) -> None:
    tokenizer, example = bert_tokenizer(), asked(answer, context=context)
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)  # drops control characters
    for piece in span_pieces(example, tokenizer, length):
        assert not any(piece.tokens.loss_mask)
        assert piece.tokens.tail == 3
        assert varied_span(piece, example, tokenizer, length) == piece.tokens


def test_what_is_read_of_a_sample_is_its_window() -> None:
    example = asked("Tuesday")
    read = [tuple(piece.tokens.read) for piece in span_pieces(example, TOKENIZER, 50)]
    assert read == [window.input_ids for window in windows_of(example.question, CONTEXT, TOKENIZER, 47)]


def test_of_an_answer_that_no_window_holds_the_longest_part_is_learned_and_the_row_counts_as_cut() -> None:
    answer = CONTEXT[5:60]
    found = targets(asked(answer), 40)
    ((text, truncated),) = [(text, truncated) for text, truncated in found if text]
    assert text in answer
    assert truncated


def test_pieces_have_their_part_of_the_context_and_ids_of_their_own() -> None:
    pieces = span_pieces(asked("Carl"), TOKENIZER, 50)
    assert [piece.tokens.id for piece in pieces] == [f"{pieces[0].example.id}/{number}" for number in range(len(pieces))]
    assert (pieces[0].start, pieces[-1].end) == (0, len(CONTEXT))
    assert [piece.first for piece in pieces] == [True, *[False] * (len(pieces) - 1)]
    assert [piece.last for piece in pieces] == [*[False] * (len(pieces) - 1), True]


@pytest.mark.parametrize("length", [40, 50, 400])
def test_a_varied_question_keeps_the_answer_of_its_window(length: int) -> None:
    example = asked("Tuesday")
    for piece in span_pieces(example, TOKENIZER, length):
        assert varied_span(piece, example, TOKENIZER, length) == piece.tokens
        varied = varied_span(piece, asked_in_other_words(), TOKENIZER, length)
        ids, before = list(varied.input_ids), list(piece.tokens.input_ids)
        assert TOKENIZER.decode(ids[ids[-2] : ids[-1] + 1]) == TOKENIZER.decode(before[before[-2] : before[-1] + 1])
        assert len(ids) <= length


@pytest.mark.parametrize("length", [60, 70])
def test_a_window_that_did_not_hold_the_answer_does_not_when_the_question_was_too_long(length: int) -> None:
    example = QuestionExample.of("data.train[0] line 1", "Who came? " * 20, CONTEXT, [Answer("Tuesday", CONTEXT.find("Tuesday"))])
    pieces = span_pieces(example, TOKENIZER, length)
    assert all(piece.tokens.truncated for piece in pieces)
    varied = [varied_span(piece, example, TOKENIZER, length) for piece in pieces]
    assert [sample.input_ids[-1] > 0 for sample in varied] == [piece.tokens.input_ids[-1] > 0 for piece in pieces]


def asked_in_other_words() -> QuestionExample:
    return QuestionExample.of("data.train[0] line 1", "Which of them?", CONTEXT, [Answer("Tuesday", CONTEXT.find("Tuesday"))])


@pytest.mark.parametrize("length", [40, 60, 400])
def test_windows_are_counted_without_those_that_fit(length: int) -> None:
    rows = [asked("Ann"), asked("Ann", context="Ann came."), asked()]
    assert count_windows(rows, TOKENIZER, length).pieces == sum(len(span_pieces(row, TOKENIZER, length)) for row in rows)


def test_answers_of_published_questions_come_back_from_their_tokens(real_data: Path) -> None:
    records = list(read_file("data.train[0]", real_data / "xquad" / "en.json", None, ["question", "context", "answers"]))[::25]
    for example in examples_of(records, task=reader_of("question-answering"))[0]:
        answer = example.span
        windows = windows_of(example.question, example.context, TOKENIZER, 500)
        places = [(window, place) for window in windows if (place := window.positions(answer.start, answer.end)) is not None]
        assert places
        assert all(example.context[slice(*window.characters(*place))] == answer.text for window, place in places)
