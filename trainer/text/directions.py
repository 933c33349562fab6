"""How a tokenizer is told the languages of a text and of its translation: by codes, by a token in the text, or by words before it.

Multilingual models (mBART, M2M100, NLLB) have a token for each language, which both texts begin or end with; Marian's have one such as
`>>deu<<` in front of the source, if they know several targets; every other model is told as T5 was: `translate English to German: `.
babel is imported on first use. Tests: tests/trainer/text/test_directions.py.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import RLock
from typing import Any

from finetune.api.errors import InputError
from trainer.text.controls import special_ids
from trainer.text.languages import language_name, languages_of

SHOWN = 8
"""Languages of a tokenizer that an error lists; some know 200."""
_MODE = RLock()
"""Rows are tokenized in a thread while others are asked about, and a tokenizer has one language at a time."""


@dataclass(frozen=True)
class Direction:
    """What a model is told of the languages."""

    prefix: str = ""
    """In front of the text."""
    source: str | None = None
    """As the tokenizer calls it; None for one that has no languages of its own."""
    target: str | None = None
    first: int | None = None
    """The token that the translation begins with, whatever the model would say."""


def direction_of(pair: str, tokenizer: Any, field: str) -> Direction:
    """Return what the model is told of a pair such as en-de, the empty text for none; `field` is that of the rows' source.

    Raises InputError for a language that the tokenizer does not know, or that it must be told.
    """
    return _direction(pair, tokenizer, field)


def is_multilingual(tokenizer: Any) -> bool:
    """Return whether a tokenizer is one of models that were made to translate."""
    return bool(_codes(tokenizer)) or hasattr(tokenizer, "supported_language_codes")


def reads_languages(tokenizer: Any) -> bool:
    """Return whether each text needs the code or the token of a language; a tokenizer that has one alone asks for that one."""
    return bool(_codes(tokenizer)) or bool(getattr(tokenizer, "supported_language_codes", None))


@contextmanager
def reading(direction: Direction, tokenizer: Any) -> Iterator[None]:
    """Have the tokenizer turn texts into what the model reads."""
    with _MODE, _language(tokenizer, direction.source):
        yield


@contextmanager
def writing(direction: Direction, tokenizer: Any) -> Iterator[None]:
    """Have the tokenizer turn texts into what the model is to write."""
    with _MODE, _language(tokenizer, direction.target), _target_mode(tokenizer):
        yield


@lru_cache(maxsize=256)
def _direction(pair: str, tokenizer: Any, field: str) -> Direction:
    languages = languages_of(pair)
    codes = _codes(tokenizer)
    if codes:
        return _of_codes(languages, codes, tokenizer, field)
    tags = getattr(tokenizer, "supported_language_codes", None)
    if languages is None or tags == []:
        return Direction()
    source, target = languages
    if tags is not None:
        found = {tag.strip("><"): tag for tag in tags}
        return Direction(prefix=f"{found[_chosen(target, found, f'{field}.targetLanguage')]} ")
    return Direction(prefix=f"translate {language_name(source)} to {language_name(target)}: ")


def _of_codes(languages: tuple[str, str] | None, codes: Mapping[str, int], tokenizer: Any, field: str) -> Direction:
    if languages is None:
        source = tokenizer.src_lang
        target = getattr(tokenizer, "tgt_lang", None) or source
    else:
        source, target = (
            _chosen(code, codes, f"{field}.{name}") for code, name in zip(languages, ("sourceLanguage", "targetLanguage"), strict=True)
        )
    with _MODE, _language(tokenizer, target):
        leads = tokenizer("a", verbose=False)["input_ids"][0] == codes[target]
    return Direction(source=source, target=target, first=codes[target] if leads else None)


def _codes(tokenizer: Any) -> Mapping[str, int]:
    """Return the languages that a tokenizer can be set to, and the token of each; empty for tokenizers without."""
    if not isinstance(getattr(type(tokenizer), "src_lang", None), property):
        return {}
    named: Mapping[str, int] = getattr(tokenizer, "lang_code_to_id", {})
    if named:
        return named
    return {token: index for index in sorted(special_ids(tokenizer)) if "_" in (token := str(tokenizer.convert_ids_to_tokens(index)))}


def _chosen(code: str, known: Collection[str], field: str) -> str:
    """Return which of the `known` languages is meant: deu_Latn by de, zho_Hant by zh-Hant; raises InputError for none or several."""
    wanted = _parts(code)
    close = [name for name in known if _parts(name)[0] == wanted[0]]
    exact = [name for name in close if _parts(name) == wanted] or [name for name in close if wanted[1] <= _parts(name)[1]]
    if len(exact) == 1:
        return exact[0]
    listed = sorted(exact or close or known)
    some = ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")
    if exact:
        raise InputError(field, f"the model's tokenizer knows several languages that {code} may be", f"write one of {some}")
    raise InputError(field, f"the model's tokenizer does not know the language {code}", f"it knows {some}")


@lru_cache(maxsize=1024)
def _parts(code: str) -> tuple[str, frozenset[str]]:
    """Return a language by the shortest code that it has (de for deu), and the script, country and the like after it."""
    from babel.core import get_global

    language, *others = code.replace("-", "_").split("_")
    shortest = get_global("language_aliases").get(language.lower(), language.lower())
    return shortest.split("_")[0], frozenset(part.lower() for part in others)


@contextmanager
def _language(tokenizer: Any, code: str | None) -> Iterator[None]:
    if code is None:
        yield
        return
    before = tokenizer.src_lang
    tokenizer.src_lang = code
    try:
        yield
    finally:
        tokenizer.src_lang = before


@contextmanager
def _target_mode(tokenizer: Any) -> Iterator[None]:
    """Have a tokenizer with a vocabulary of its own for translations, as Marian's, use it; transformers has no public way for it."""
    if not hasattr(tokenizer, "supported_language_codes"):
        yield
        return
    tokenizer._in_target_context_manager = True
    tokenizer._switch_to_target_mode()
    try:
        yield
    finally:
        tokenizer._in_target_context_manager = False
        tokenizer._switch_to_input_mode()
