"""Reads synonym tables: the one derived from WordNet in this folder, or the user's own in the same format, or in that of the Open
Multilingual Wordnet.

A line is a word, a tab, and its synonyms separated by commas; in the former a tab and the part of speech follow.
Tests: tests/trainer/augmentation/test_synonyms.py.
"""

import gzip
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from finetune.api.errors import InputError
from trainer.augmentation.synonyms.multilingual import parse_tab, recognized
from trainer.data.files import check_file, unreadable
from trainer.data.records import shown
from trainer.data.streams import numbered_lines

Synonyms = Mapping[str, tuple[str, ...]]
"""Lower-case words and their synonyms."""
EXAMPLE = "write the word, a tab, and its synonyms separated by commas"


@cache
def wordnet() -> Synonyms:
    """Return the English table: about 1,000 words, forms included, each of which nearly always means one thing."""
    packed = files(__package__).joinpath("wordnet.tsv.gz").read_bytes()
    lines = (line.rpartition("\t")[0] for line in gzip.decompress(packed).decode().splitlines())  # without the part of speech
    return parse("wordnet.tsv.gz", "wordnet.tsv.gz", enumerate(lines, start=1))


def read_dictionary(field: str, path: Path) -> Synonyms:
    """Return the user's own table; raises InputError naming the line."""
    check_file(field, path)
    try:
        multilingual, lines = recognized(numbered_lines(field, path))
        table = (parse_tab if multilingual else parse)(field, str(path), lines)
    except OSError as error:
        raise unreadable(field, path, error) from error
    if not table:
        raise InputError(field, f"{path} has no words", EXAMPLE)
    return table


def parse(field: str, name: str, lines: Iterable[tuple[int, str]]) -> Synonyms:
    """Parse a table from numbered lines; blank lines are skipped. Raises InputError for an invalid or repeated word."""
    table: dict[str, tuple[str, ...]] = {}
    for number, line in lines:
        if not line.strip():
            continue
        word, tab, rest = line.partition("\t")
        word = word.strip().lower()
        synonyms = tuple(dict.fromkeys(synonym.strip() for synonym in rest.split(",") if synonym.strip()))
        fault = _fault(word, tab, synonyms, table)
        if fault:
            raise InputError(field, f"{name} line {number} {fault}: {shown(line)}", EXAMPLE)
        table[word] = synonyms
    return table


def _fault(word: str, tab: str, synonyms: tuple[str, ...], table: Synonyms) -> str:
    if not tab:
        return "has no tab"
    if not word or len(word.split()) > 1:
        return "does not begin with a single word"
    if not synonyms:
        return "has no synonym"
    if "\t" in "".join(synonyms):
        return "has more than one tab"
    return "repeats a word of an earlier line" if word in table else ""
