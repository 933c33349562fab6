"""Reads synonyms from a file of the Open Multilingual Wordnet: lines of a synset, `fra:lemma` and a word, with tabs between.

The file does not say which meaning of a word is the common one, so words with several are left alone, and so are phrases.
Test: tests/trainer/augmentation/test_multilingual.py.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from finetune.api.errors import InputError
from trainer.data.records import shown

_SYNSET = re.compile(r"\d{8}-[a-z]\t")


def recognized(lines: Iterator[tuple[int, str]]) -> tuple[bool, Iterator[tuple[int, str]]]:
    """Return whether numbered lines are of such a file, and all of them: its first line after comments has a synset."""
    begun = []
    for number, line in lines:
        begun.append((number, line))
        if line.strip() and not line.startswith("#"):
            return bool(_SYNSET.match(line)), chain(begun, lines)
    return False, iter(begun)


def parse_tab(field: str, name: str, lines: Iterable[tuple[int, str]]) -> dict[str, tuple[str, ...]]:
    """Return each word in lower case that is in one synset alone, with the others of it. Raises InputError for an invalid line."""
    synsets: dict[str, dict[str, str]] = {}
    meanings: dict[str, int] = {}
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        synset, kind, word = _cells(field, f"{name} line {number}", line)
        if kind.rpartition(":")[2] != "lemma":
            continue  # a definition or an example
        words = synsets.setdefault(synset, {})
        if word.lower() not in words:
            words[word.lower()] = word
            meanings[word.lower()] = meanings.get(word.lower(), 0) + 1
    found = {}
    for words in synsets.values():
        single = {lower: word for lower, word in words.items() if not re.search(r"[\s_]", word)}
        for lower in single:
            others = tuple(word for other, word in single.items() if other != lower)
            if others and meanings[lower] == 1:
                found[lower] = others
    return found


def _cells(field: str, place: str, line: str) -> tuple[str, str, str]:
    cells = [cell.strip() for cell in line.split("\t")]
    if not _SYNSET.match(line) or len(cells) < 3 or not all(cells[:3]):
        problem = f"{place} is not a line of the Open Multilingual Wordnet, as the first one is: {shown(line)}"
        raise InputError(field, problem, "write a synset such as 02084071-n, a tab, fra:lemma, a tab, and a word")
    return cells[0], cells[1], cells[2]
