"""Languages are called as English calls them."""

import pytest

from trainer.text.languages import language_name, languages_of, pair_of


@pytest.mark.parametrize(
    ("code", "name"),
    [("en", "English"), ("pt-BR", "Portuguese (Brazil)"), ("zh_Hans", "Chinese (Simplified)"), ("deu", "German"), ("deu_Latn", "German"),
     ("xx", "xx")],
)  # fmt: skip
def test_a_language_has_its_english_name(code: str, name: str) -> None:
    assert language_name(code) == name


def test_a_pair_of_languages_is_read_back() -> None:
    assert pair_of(None) == ""
    assert languages_of("") is None
    assert pair_of(("pt-BR", "en")) == "pt_BR-en"
    assert languages_of("pt_BR-en") == ("pt_BR", "en")
