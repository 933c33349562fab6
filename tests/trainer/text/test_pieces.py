"""All of a long text is learned, in pieces; sums over them do not depend on where the cuts lie."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.augmentation import Augmentation
from tests.builders import train_config
from tests.trainer.fixtures.examples import chat, dataset, text, tokenize
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.tokenizers import CONTROLS, byte_tokenizer, trained_tokenizer
from trainer.augmentation.augmenter import Augmenter
from trainer.data.rows import Piece
from trainer.preflight.doctor import examine
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING
from trainer.text.pieces import count_pieces, pieces_of, pieces_of_all

BYTES = byte_tokenizer(None, eos="</s>")
BYTES_WITH_START = byte_tokenizer(None, eos="</s>", bos="<s>")
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0<"), min_size=1, max_size=60)
STORY = "The river is green, the stone is blue and the apple is red. " * 8
ODD = ["", " ", "</s>", "<s>a</s> b", "<|im_end|>", "\0", "\ufffd", "👩‍👩‍👧", "e\u0301", "a" * 300, STORY]
OPERATIONS = {"augmentedShare": 1.0, "operations": [{"wordSwap": {"probability": 0.5}}, {"characterNoise": {"probability": 0.3}}]}


def beginning(tokenizer: Any) -> Any:
    """Let a tokenizer write its first token before each text, as those of Llama do."""
    from tokenizers.processors import TemplateProcessing

    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)])
    return tokenizer


class WithoutOffsets:
    """A tokenizer that gives no offsets and takes one text at a time, as those written in Python do."""

    is_fast = False

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, words: str, *, add_special_tokens: bool = True, verbose: bool = True) -> Any:
        assert isinstance(words, str)
        return self.inner(words, add_special_tokens=add_special_tokens, verbose=verbose)


WITH_START = beginning(byte_tokenizer(None, eos="</s>", bos="<s>"))
TOKENIZERS = [
    pytest.param(BYTES, id="no first token"),
    pytest.param(WITH_START, id="first token"),
    pytest.param(WithoutOffsets(WITH_START), id="no offsets"),
]


def whole(words: str, tokenizer: Any) -> Piece:
    (piece,) = pieces_of(text(words), tokenizer, 100_000)
    return piece


def test_a_text_that_fits_is_one_row_with_its_end() -> None:
    (piece,) = pieces_of(text("Hé!"), BYTES_WITH_START, 100)
    assert BYTES.decode(piece.tokens.input_ids) == "Hé!</s>"
    assert list(piece.tokens.loss_mask) == [0, 1, 1, 1, 1]
    assert (piece.tokens.loss_bytes, piece.tokens.truncated) == (3, False)  # all but the first letter
    assert piece.tokens.id == piece.example.id


def test_a_long_text_is_cut_into_pieces_that_begin_with_the_last_token_of_the_one_before() -> None:
    pieces = pieces_of(text("abcdefgh"), BYTES, 4)
    assert [BYTES.decode(piece.tokens.input_ids) for piece in pieces] == ["abcd", "defg", "gh</s>"]
    assert [list(piece.tokens.loss_mask) for piece in pieces] == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1]]
    assert [piece.tokens.loss_bytes for piece in pieces] == [3, 3, 1]
    assert not any(piece.tokens.truncated for piece in pieces)
    assert len({piece.tokens.id for piece in pieces}) == 3


def test_the_last_piece_never_holds_context_alone() -> None:
    for length in range(1, 30):
        for piece in pieces_of(text("a" * length), BYTES, 8):
            assert any(piece.tokens.loss_mask)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(words=WORDS, max_length=st.integers(2, 40))
def test_every_token_but_the_first_has_loss_once_wherever_a_text_is_cut(tokenizer: Any, words: str, max_length: int) -> None:
    expected, pieces = whole(words, tokenizer).tokens, pieces_of(text(words), tokenizer, max_length)
    rows = [piece.tokens for piece in pieces]
    learned = [token for row in rows for token, bears in zip(row.input_ids, row.loss_mask, strict=True) if bears]
    assert [rows[0].input_ids[0], *learned] == list(expected.input_ids)
    assert sum(row.loss_bytes for row in rows) == expected.loss_bytes
    assert all(len(row.input_ids) <= max_length and row.loss_bytes >= 0 for row in rows)
    assert [row.input_ids[0] for row in rows[1:]] == [row.input_ids[-1] for row in rows[:-1]]


class Ignoring(WithoutOffsets):
    """A tokenizer without offsets that shows nothing of a divided character, as that of ByT5 does, and counts what it decodes."""

    decoded = 0

    def decode(self, ids: list[int], **options: Any) -> str:
        self.decoded += len(ids)
        return str(self.inner.decode(ids, **options)).replace("\ufffd", "")


@pytest.mark.parametrize("kind", [WithoutOffsets, Ignoring])
@given(words=WORDS, max_length=st.integers(2, 40))
def test_sizes_without_offsets_are_those_of_the_text_so_far(kind: Any, words: str, max_length: int) -> None:
    tokenizer = kind(BYTES)
    pieces = pieces_of(text(words), tokenizer, max_length)
    expected = whole(words, tokenizer).tokens
    seen, sizes = 1, [0]
    for piece in pieces[:-1]:
        seen += len(piece.tokens.input_ids) - 1
        shown = tokenizer.decode(list(expected.input_ids[1:seen]), skip_special_tokens=True)
        sizes.append(max(sizes[-1], min(expected.loss_bytes, len(shown.encode()))))
    assert [piece.tokens.loss_bytes for piece in pieces[:-1]] == [after - before for before, after in pairwise(sizes)]


def test_a_long_text_without_offsets_is_decoded_a_few_times() -> None:
    tokenizer = Ignoring(BYTES)
    assert len(pieces_of(text(STORY * 20), tokenizer, 64)) > 100
    assert tokenizer.decoded < 4 * len(STORY * 20)


@pytest.mark.parametrize("tokenizer", [*TOKENIZERS, pytest.param(trained_tokenizer(None), id="merges")])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(ODD), max_size=12),
    length=st.integers(2, 40),
)
def test_texts_that_are_tokenized_together_have_the_tokens_that_each_has_alone(tokenizer: Any, texts: list[str], length: int) -> None:
    examples = [text(words) for words in texts]
    together = list(pieces_of_all(examples, tokenizer, length))
    assert together == [pieces_of(example, tokenizer, length) for example in examples]
    for pieces, words in zip(together, texts, strict=True):
        ids = tokenizer(words)["input_ids"]
        if len(pieces) == 1 and not any(name in words for name in CONTROLS):
            expected = ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]
            spoken = ids if ids[:1] == [tokenizer.bos_token_id] else ids[1:]
            shown = tokenizer.decode(spoken, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            assert (list(pieces[0].tokens.input_ids), pieces[0].tokens.loss_bytes) == (expected, len(shown.encode()))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(words=WORDS, max_length=st.integers(2, 40))
def test_pieces_are_counted_without_making_them(tokenizer: Any, words: str, max_length: int) -> None:
    count = count_pieces([text(words)], tokenizer, max_length)
    assert (count.pieces, count.estimated) == (len(pieces_of(text(words), tokenizer, max_length)), False)


def test_the_pieces_of_very_large_sets_are_estimated_and_said_to_be() -> None:
    examples = [text(f"{number} {STORY}") for number in range(20)]
    exact = sum(len(pieces_of(example, BYTES, 64)) for example in examples)
    count = count_pieces(examples, BYTES, 64, most_characters=1000)
    assert count.estimated
    assert count.pieces == pytest.approx(exact, rel=0.05)


def test_a_conversation_stays_one_row(tokenizer: Any) -> None:
    example = chat("question", "answer")
    (piece,) = CHAT.encode(example, tokenizer, 20)
    assert piece.tokens == tokenize(example, tokenizer, 20)
    assert CHAT.count([example], tokenizer, 20).pieces == 1


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_augmentation_varies_a_piece_within_its_borders_and_the_same_each_time(tokenizer: Any) -> None:
    augmenter = Augmenter(Augmentation.model_validate(OPERATIONS), 1)
    pieces = pieces_of(text(STORY), tokenizer, 64)
    assert len(pieces) > 3
    for piece in pieces:
        tokens, counts = augmenter.sample(LANGUAGE_MODELING, piece, 2, 0, tokenizer, 64)
        assert 0 < counts.changed <= counts.seen < 25
        assert tokens == augmenter.sample(LANGUAGE_MODELING, piece, 2, 0, tokenizer, 64)[0]
        assert tokens != piece.tokens
        assert tokens != augmenter.sample(LANGUAGE_MODELING, piece, 3, 0, tokenizer, 64)[0]
        assert tokens.id == piece.tokens.id
        assert len(tokens.input_ids) <= 64
        if not piece.first:
            assert tokens.input_ids[0] == piece.tokens.input_ids[0]
        if not piece.last:
            assert tokenizer.eos_token_id not in tokens.input_ids


def test_a_piece_that_augmentation_leaves_alone_keeps_its_tokens() -> None:
    nothing = {"augmentedShare": 1.0, "operations": [{"wordSwap": {"probability": 0.0}}]}
    augmenter = Augmenter(Augmentation.model_validate(nothing), 1)
    for piece in pieces_of(text(STORY), BYTES, 64):
        tokens, counts = augmenter.sample(LANGUAGE_MODELING, piece, 0, 0, BYTES, 64)
        assert tokens is piece.tokens
        assert counts.changed == 0 < counts.seen


def test_the_words_of_a_piece_tokenized_alone_are_its_tokens() -> None:
    # Two words change places twice: what is tokenized again is the piece's own words.
    augmenter = Augmenter(Augmentation.model_validate({"augmentedShare": 1.0, "operations": [{"wordSwap": {"probability": 1.0}}] * 2}), 1)
    for piece in pieces_of(text("ab cd " * 40), BYTES, 32):
        tokens, counts = augmenter.sample(LANGUAGE_MODELING, piece, 0, 0, BYTES, 64)
        assert counts.changed > 0
        assert sorted(tokens.input_ids) == sorted(piece.tokens.input_ids)


def test_a_long_text_of_a_real_tokenizer_is_learned_whole(smollm2: Any) -> None:
    words = "Ärger über Öl — ‘quoted’ 漢字かな 😀 text.\n\n" * 40
    expected = whole(words, smollm2).tokens
    rows = [piece.tokens for piece in pieces_of(text(words), smollm2, 33)]
    assert [rows[0].input_ids[0], *(token for row in rows for token in row.input_ids[1:])] == list(expected.input_ids)
    assert sum(row.loss_bytes for row in rows) == expected.loss_bytes
    assert [smollm2.eos_token_id in row.input_ids for row in rows] == [False] * (len(rows) - 1) + [True]


def test_long_texts_are_no_finding_and_fill_a_batch(tokenizer: Any) -> None:
    job = train_config(task="language-modeling", training={"epochs": 1, "globalBatchSize": 8, "maxSequenceLength": 64})
    said = examine(causal_task(job), dataset([text(STORY)]), tokenizer, job)
    assert not [finding for finding in said if "cut after" in finding or "globalBatchSize" in finding]
    job = train_config(task="language-modeling", training={"epochs": 1, "globalBatchSize": 80, "maxSequenceLength": 64})
    assert [
        finding
        for finding in examine(causal_task(job), dataset([text(STORY)]), tokenizer, job)
        if "data.train: 8 rows, fewer than" in finding
    ]
