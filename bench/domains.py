"""Texts of two domains, and reviews of things other than films, cut from packages as anyone finds them there.

jargon: entries of the Jargon File (public domain) in Debian's dict-jargon. shift: sentences of product reviews with how positive people
found them, in the source package of vaderSentiment 2.5 (MIT; Hutto and Gilbert 2014). general: paragraphs of Wikipedia in XQuAD.
Pure. Test: tests/bench/test_examples.py.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""Of the numbers in an index of dictd, in base 64."""
CLEAR = 1.0
"""Of ratings from -4 to 4: people found a sentence clearly positive or negative."""


def number(digits: str) -> int:
    """Return a number of an index."""
    value = 0
    for digit in digits:
        value = 64 * value + DIGITS.index(digit)
    return value


def entries(index: str, content: bytes) -> dict[str, str]:
    """Return the text of each entry of a dictionary by its headword, in paragraphs of one line each."""
    found: dict[tuple[int, int], tuple[str, str]] = {}
    for line in index.splitlines():
        headword, offset, length = line.split("\t")
        place = number(offset), number(length)
        if not headword.startswith("00-database") and place not in found:
            found[place] = headword, plain(content[place[0] : place[0] + place[1]].decode())
    return {headword: text for headword, text in found.values() if text}


def plain(entry: str) -> str:
    """Return an entry without indentation, line breaks inside of paragraphs, and the braces around references to other entries."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", entry))
    return "\n".join(re.sub(r"\{ ?([^{}]*)\}", r"\1", part) for part in paragraphs if part)


def side(name: str, shares: Mapping[str, float]) -> str:
    """Return the side that a name belongs to, by its hash; the last one takes what the shares of the others leave."""
    place, *names = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8, *shares
    for found in names[:-1]:
        place -= shares[found]
        if place < 0:
            return found
    return names[-1]


def divided(rows: Iterable[tuple[str, dict[str, Any]]], shares: Mapping[str, float]) -> dict[str, list[dict[str, Any]]]:
    """Return rows, each given with the name that decides, by side."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in shares}
    for name, row in rows:
        found[side(name, shares)].append(row)
    return found


def reviews(table: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the clearly positive and negative sentences of a table of sentences, each with the name of its review."""
    rows = []
    for line in table.splitlines():
        name, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= CLEAR:
            rows.append((name.partition("_")[0], {"text": text.strip(), "label": "positive" if float(rating) > 0 else "negative"}))
    return rows


def articles(xquad: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the paragraphs of XQuAD, each with the title of its article."""
    return [(str(article["title"]), {"text": part["context"]}) for article in xquad["data"] for part in article["paragraphs"]]
