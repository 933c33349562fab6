"""Languages, as job files write them and as people call them. babel is imported on first use.

Test: tests/trainer/text/test_languages.py.
"""

from trainer.data.reading import Languages


def language_name(code: str) -> str:
    """Return what English calls a language: German for de; the code itself for one that nothing is known of."""
    from babel import Locale, UnknownLocaleError

    try:
        locale = Locale.parse(code.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return code
    # Of a bare code of three letters babel makes a language in a country.
    bare = len(code) == 3
    return (locale.get_language_name("en") if bare else locale.get_display_name("en")) or code


def pair_of(languages: Languages | None) -> str:
    """Return how figures name a pair of languages: en-de; the empty text for none."""
    return "" if languages is None else "-".join(code.replace("-", "_") for code in languages)


def languages_of(pair: str) -> Languages | None:
    """Return the languages that `pair_of` wrote; a code may have parts of its own, as in pt_BR-en."""
    source, _, target = pair.partition("-")
    return (source, target) if target else None
