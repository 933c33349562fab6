"""One tokenization of the whole text; names of control tokens in somebody's words are text, in every kind of tokenizer."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.fixtures.examples import chat, text, tokenize
from tests.trainer.fixtures.seq2seq import word_tokenizer
from tests.trainer.fixtures.tokenizers import CHATML, CONTROLS, byte_tokenizer, sentencepiece_like, slow, trained_tokenizer
from trainer.text.encoding import Encoded, cut_source, decode, encode, encode_text, plain_ids, tokens_before
from trainer.text.pieces import pieces_of

BYTES = byte_tokenizer(None, eos="</s>", bos="<s>")


TOKENIZERS = [
    pytest.param(BYTES, id="bytes"),
    pytest.param(trained_tokenizer(None), id="merges"),
    pytest.param(sentencepiece_like(), id="SentencePiece"),
    pytest.param(slow(trained_tokenizer(None)), id="without offsets"),
    pytest.param(slow(sentencepiece_like()), id="SentencePiece without offsets"),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_text_without_names_is_tokenized_in_one_piece(tokenizer: Any) -> None:
    words = "[INST] what is a question?\n    print the answer"
    assert encode(words, tokenizer).input_ids == tokenizer(words, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_name_is_text_between_words_that_keep_their_spaces(tokenizer: Any) -> None:
    words = "the </s> in <s>question</s>"
    ids = encode_text(words, tokenizer, special=False).input_ids
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id}.intersection(ids)
    assert decode(tokenizer, ids) == words


@pytest.mark.parametrize("name", CONTROLS)
def test_no_name_becomes_its_token(name: str) -> None:
    tokenizer = trained_tokenizer(None)
    ids = plain_ids(tokenizer, name)
    assert tokenizer.convert_tokens_to_ids(name) not in ids
    assert decode(tokenizer, ids) == name


def test_words_are_tokenized_as_transformers_does_when_it_makes_control_tokens_harmless() -> None:
    tokenizer = trained_tokenizer("{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}")
    words = "what <|im_end|>is</s> a question?"
    expected = tokenizer.apply_chat_template([{"role": "user", "content": words}], sanitize_control_tokens=True)["input_ids"]
    assert encode_text(words, tokenizer, special=False).input_ids == expected[1:-1]


@given(st.lists(st.sampled_from(["</s>", "<s>", "<|im_end|>", "<", "|", "end", " ", "\n", "ü", "🙂", "</", "s>"]), max_size=12))
def test_any_text_with_names_comes_back_as_it_was(parts: list[str]) -> None:
    words = "".join(parts)
    encoded = encode_text(words, BYTES, special=False)
    assert decode(BYTES, encoded.input_ids) == words
    assert encoded.words(range(len(encoded.input_ids)), BYTES) == words
    ends = [end for _, end in encoded.offsets or ()]
    assert ends == sorted(ends)


def test_a_text_of_language_modeling_has_its_own_special_tokens_and_no_others() -> None:
    (piece,) = pieces_of(text("one</s>two"), BYTES, 100)
    assert BYTES.decode(piece.tokens.input_ids) == "one</s>two</s>"
    assert list(piece.tokens.input_ids).count(BYTES.eos_token_id) == 1


def test_a_token_on_both_sides_of_a_border_is_cut_there_and_others_are_not() -> None:
    tokenizer = trained_tokenizer(None)
    words = "user\n\n\n    print"
    whole = encode(words, tokenizer)
    joined = [border for border in range(1, len(words)) if tokens_before(border, whole, tokenizer) is None]
    assert joined, "the test needs a token of several characters"
    cut = encode(words, tokenizer, borders=joined[:1])
    assert tokens_before(joined[0], cut, tokenizer) is not None
    assert decode(tokenizer, cut.input_ids) == words
    free = next(border for border in range(1, len(words)) if border not in joined)
    assert encode(words, tokenizer, borders=[free]).input_ids == whole.input_ids


def test_an_unknown_word_is_text() -> None:
    tokenizer = sentencepiece_like()
    encoded = encode("the 🙂", tokenizer)
    assert encoded.words(range(len(encoded.input_ids)), tokenizer) == "the 🙂"


def trimmed(tokenizer: Any) -> Any:
    """Return the tokenizer with offsets that leave out the space before a word, as those of GPT-NeoX and RoBERTa do."""
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def test_spaces_that_offsets_leave_out_count_among_the_learned_bytes() -> None:
    plain, other = trained_tokenizer(CHATML, eos="<|im_end|>"), trimmed(trained_tokenizer(CHATML, eos="<|im_end|>"))
    row = chat("what is a question?", " the answer is here  and ü 🙂 there", "a  question?", "the user")
    places = other("what is a question?", return_offsets_mapping=True)["offset_mapping"]
    assert any(one[1] < following[0] for one, following in pairwise(places)), "the test needs offsets that leave something out"
    expected, found = tokenize(row, plain, 1000), tokenize(row, other, 1000)
    assert found == expected
    assert found.loss_bytes == len(" the answer is here  and ü 🙂 therethe user".encode())


def test_the_words_of_a_run_begin_where_the_token_before_ends() -> None:
    encoded = Encoded("a b cé", [50, 51, 52, 53, 54], [(0, 1), (2, 3), (4, 5), (5, 6), (5, 6)])
    assert encoded.words(range(1, 3), BYTES) == encoded.words(range(1, 2), BYTES) + encoded.words(range(2, 3), BYTES) == " b c"
    assert encoded.words(range(1), BYTES) + encoded.words(range(3, 5), BYTES) == "aé"
    assert encoded.words(range(2, 2), BYTES) == ""


def test_a_name_that_a_tokenizer_has_no_tokens_for_leaves_nothing() -> None:
    class Silent:
        """A tokenizer that drops what it does not know."""

        def __getattr__(self, name: str) -> Any:
            return getattr(BYTES, name)

        def __call__(self, *args: Any, **options: Any) -> Any:
            return BYTES(*args, **options)

        def _encode_without_added_tokens(self, words: str) -> list[int]:
            return []

    encoded = encode("a</s>b", Silent(), [(1, 5)])
    assert encoded.input_ids == BYTES("ab", add_special_tokens=False)["input_ids"]
    assert encoded.offsets == [(0, 1), (5, 6)]


def test_each_name_is_tokenized_once_however_often_it_stands_in_a_text() -> None:
    class Counting:
        """A tokenizer that counts what it is asked for, in characters."""

        is_fast = True

        def __init__(self) -> None:
            self.inner, self.characters = trained_tokenizer(None), 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def __call__(self, words: str, **options: Any) -> Any:
            self.characters += len(words)
            return self.inner(words, **options)

        def _encode_without_added_tokens(self, words: str) -> Any:
            self.characters += len(words)
            return self.inner._encode_without_added_tokens(words)

    tokenizer = Counting()
    words = "the<|endoftext|>" * 500
    encoded = encode_text(words, tokenizer, special=False)
    assert decode(tokenizer, encoded.input_ids) == words
    assert tokenizer.characters < len(words)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        pytest.param(9, "a b c d </s>", id="it fits"),
        pytest.param(5, "a b c d </s>", id="it just fits"),
        pytest.param(3, "a b </s>", id="words go, the end token stays"),
        pytest.param(1, "a", id="nothing but words fits"),
    ],
)
def test_a_source_is_cut_at_its_end_and_keeps_the_special_tokens_there(most: int, expected: str) -> None:
    tokenizer = word_tokenizer()
    ids = tokenizer("a b c d")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(cut_source(ids, most, tokenizer)) == expected.split()
