"""Long texts are cut into pieces between special tokens; each token is in exactly one."""

import pytest
from tokenizers import AddedToken

from tests.trainer.fixtures.encoders import bert_tokenizer
from trainer.data.masking import text_of
from trainer.tasks.base import Fill
from trainer.tasks.language_modeling import MASKED_LANGUAGE_MODELING
from trainer.text.example import TextExample
from trainer.text.masked import count_masked, masked_part, masked_pieces, varied_masked

TOKENIZER = bert_tokenizer()
TEXT = TextExample.of("line 1", "The river rises in the mountains, Grüße, and ends in the sea.")


@pytest.mark.parametrize("length", [8, 13, 32, 500])
def test_each_token_of_a_text_is_in_one_piece(length: int) -> None:
    [pieces] = masked_pieces([TEXT], TOKENIZER, length)
    read = [text_of(piece.tokens)[0] for piece in pieces]

    assert [token for ids in read for token in ids[1:-1]] == TOKENIZER(TEXT.text, add_special_tokens=False)["input_ids"]
    assert all((ids[0], ids[-1]) == (TOKENIZER.cls_token_id, TOKENIZER.sep_token_id) for ids in read)
    assert max(map(len, read)) <= length
    assert count_masked([TEXT], TOKENIZER, length).pieces == len(pieces)
    assert [(piece.first, piece.last) for piece in pieces] == [(n == 0, n == len(pieces) - 1) for n in range(len(pieces))]


def test_the_words_of_a_piece_are_varied_under_its_id() -> None:
    [pieces] = masked_pieces([TEXT], TOKENIZER, 16)
    parts = [masked_part(piece, TOKENIZER) for piece in pieces]

    assert "".join(part.text for part in parts) == TEXT.text
    assert [part.id for part in parts] == [piece.tokens.id for piece in pieces]
    varied = varied_masked(pieces[1], "other words that are too many", TOKENIZER, 16)
    assert TOKENIZER.decode(text_of(varied)[0], skip_special_tokens=True) == "other words th"
    assert varied.id == pieces[1].tokens.id
    assert varied.truncated
    assert not varied_masked(pieces[1], "other words", TOKENIZER, 16).truncated


def test_what_is_hidden_depends_on_the_text_alone() -> None:
    other = TextExample.of("line 2", "another text")
    assert list(masked_pieces([other, TEXT], TOKENIZER, 100))[1] == next(masked_pieces([TEXT], TOKENIZER, 100))


@pytest.mark.parametrize("spaces", [{}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}], ids=str)
@pytest.mark.parametrize("text", ["The river [MASK] in the [MASK].", "[MASK] river", "a [MASK] [MASK] b", " a  [MASK]", "no mask "])
def test_a_text_with_masks_is_asked_about_in_the_tokenizer_s_own_tokens(text: str, spaces: dict[str, bool]) -> None:
    tokenizer = bert_tokenizer()
    tokenizer.add_special_tokens({"mask_token": AddedToken("[MASK]", **spaces)})

    request = MASKED_LANGUAGE_MODELING.ask(TextExample.of("line 1", text), tokenizer)

    assert isinstance(request, Fill)
    assert list(request.text_ids) == tokenizer(text)["input_ids"]
