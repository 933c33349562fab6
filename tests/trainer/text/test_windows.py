"""Windows hold every token of a context and every answer, fit their room, and lead back to the characters of the original text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from tests.trainer.fixtures.encoders import bert_tokenizer
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from tests.trainer.rank.span_ranks import pair_tokenizer
from trainer.data.spanrow import segments
from trainer.text.encoding import encode_text
from trainer.text.windows import OVERLAP, Window, form_of, varied_window, windows_of

TOKENIZER = bert_tokenizer()
TOKENIZER.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
QUESTION = "Who came?"
CONTEXT = "Ann came on Monday, Ben came on Tuesday, and later Grüße an 世界 were sent to all of them by Carl."


def context_ids(window: Window) -> tuple[int, ...]:
    return window.input_ids[window.first : window.first + len(window.offsets)]


def roberta_tokenizer() -> Any:
    """Return a tokenizer that writes two separators between the texts of a pair and marks none, as RoBERTa's does."""
    from tokenizers import processors

    tokenizer = bert_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.mark.parametrize("room", [12, 16, 30, 61, 400])
def test_windows_overlap_by_a_third_and_hold_every_token_of_the_context(room: int) -> None:
    windows, whole = windows_of(QUESTION, CONTEXT, TOKENIZER, room), encode_text(CONTEXT, TOKENIZER, special=False)
    assert all(len(window.input_ids) <= room for window in windows)
    seen: list[int] = list(context_ids(windows[0]))
    for window in windows[1:]:
        overlap = (len(windows[0].offsets)) // OVERLAP
        assert seen[-overlap:] == list(context_ids(window)[:overlap]) or overlap == 0
        seen += context_ids(window)[overlap:]
    assert seen == whole.input_ids
    assert (len(windows) == 1) == (room == 400)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, roberta_tokenizer()], ids=["bert", "roberta"])
def test_a_window_is_what_the_tokenizer_makes_of_the_pair(tokenizer: Any) -> None:
    (window,) = windows_of(QUESTION, CONTEXT, tokenizer, 400)
    assert list(window.input_ids) == tokenizer(QUESTION, CONTEXT)["input_ids"]
    given = tokenizer(QUESTION, CONTEXT).get("token_type_ids")
    assert window.marked == (given is not None)
    assert given is None or segments(len(window.input_ids), window.second) == given


def test_each_window_of_a_long_context_is_what_the_tokenizer_cuts() -> None:
    size = 40 - len(QUESTION) - 3
    expected = TOKENIZER(
        QUESTION, CONTEXT, truncation="only_second", max_length=40, stride=size // OVERLAP, return_overflowing_tokens=True
    )["input_ids"]
    assert [list(window.input_ids) for window in windows_of(QUESTION, CONTEXT, TOKENIZER, 40)] == expected


@given(st.text(st.sampled_from("abc ü世"), max_size=60), st.integers(0, 60), st.integers(1, 6), st.integers(24, 80))
def test_every_answer_is_whole_in_a_window_and_comes_back_from_its_tokens(text: str, start: int, length: int, room: int) -> None:
    answer = text[start : start + length].strip()
    begin = text.find(answer)
    windows = windows_of("a?", text, TOKENIZER, room)
    size = len(windows[0].offsets)
    tokens = len(TOKENIZER(answer, add_special_tokens=False)["input_ids"])
    if not answer or tokens > size // OVERLAP:
        return
    found = [(window, place) for window in windows if (place := window.positions(begin, begin + len(answer))) is not None]
    assert found
    for window, place in found:
        first, last = window.characters(*place)
        assert text[first:last] == answer


def test_a_question_that_would_fill_a_window_loses_its_end() -> None:
    windows = windows_of("a" * 100, CONTEXT, TOKENIZER, 43)
    assert all(window.shortened and len(window.input_ids) <= 43 for window in windows)
    assert windows[0].first == 1 + 20 + 1
    (short,) = windows_of("a" * 30, "Ann", TOKENIZER, 43)
    assert not short.shortened, "what the context does not need is the question's"


def test_names_of_control_tokens_are_text() -> None:
    (window,) = windows_of("What is [SEP]?", "It is [SEP].", TOKENIZER, 100)
    assert window.input_ids.count(TOKENIZER.sep_token_id) == 2


def test_an_empty_context_is_one_window() -> None:
    (window,) = windows_of(QUESTION, "", TOKENIZER, 40)
    assert (window.offsets, window.start, window.end, window.positions(0, 1)) == ((), 0, 0, None)


def test_a_long_question_about_an_empty_context_loses_its_end() -> None:
    (window,) = windows_of("a" * 100, "", TOKENIZER, 40)
    assert window.shortened
    assert len(window.input_ids) <= 40


def test_a_varied_question_is_read_with_the_same_part_of_the_context() -> None:
    plain = CONTEXT.encode("ascii", "replace").decode()  # a character of several tokens is never divided
    for window in windows_of(QUESTION, plain, TOKENIZER, 40):
        for question in ("Who?", "Who on that day did come?"):
            varied = varied_window(question, plain, (window.start, window.end), TOKENIZER, 40)
            assert varied.offsets == window.offsets
            assert context_ids(varied) == context_ids(window)
            assert len(varied.input_ids) <= 40


def test_a_tokenizer_of_few_words_writes_pairs_too() -> None:
    assert form_of(pair_tokenizer()) == form_of(TOKENIZER)


def test_a_tokenizer_that_writes_no_pairs_is_refused() -> None:
    with pytest.raises(InputError, match="no special tokens before, between and after a pair of texts"):
        form_of(byte_tokenizer())


def test_a_tokenizer_that_marks_pairs_in_another_way_is_refused() -> None:
    from tokenizers import processors

    tokenizer = bert_tokenizer()
    tokenizer.model_input_names = TOKENIZER.model_input_names
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS]:1 $A:1 [SEP]:1 $B:0 [SEP]:0", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with pytest.raises(InputError, match="marks the two texts of a pair in a way that is not known here"):
        form_of(tokenizer)
