"""What models wrote in place of training texts: one table for a run, in its folder, from which augmentation draws.

A line is a text with its variants, and why others were dropped; the first line says what they were written with. Lines are added as they
are written, so that a run that was killed goes on. Pure but for the file. Test: tests/trainer/augmentation/test_rewritten.py.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.system.files import write_atomically
from trainer.augmentation.protection import Protection, negations

FILE = "rewritten.jsonl"
"""In the output folder."""
EMPTY, EQUAL, CUT, REPEATED, LOST, ADDED, NEGATED = "empty", "equal", "cut", "repeated", "lost", "added", "negated"
DROPPED = (EMPTY, EQUAL, CUT, REPEATED, LOST, ADDED, NEGATED)
"""Why a variant is not used: it has no words, is the text, reached the token limit, is an earlier variant, lost what is protected, has
such a part that the text does not have (a number, an address, a placeholder), or negates more or less often than the text."""


@dataclass(frozen=True)
class Variants:
    """What is used of what was written for a text by one operation."""

    texts: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


Key = tuple[int, str]
"""Index of the operation, and the text."""
Rewritten = Mapping[Key, Variants]
NONE: Rewritten = {}


def chosen(text: str, written: Iterable[tuple[str, bool]], protection: Protection) -> Variants:
    """Return the variants of a text that may take its place, of those that were written, each with whether it was cut."""
    texts: list[str] = []
    dropped: Counter[str] = Counter()
    for variant, cut in written:
        variant = unquoted(variant, text)
        fault = _fault(text, variant, texts, protection, cut=cut)
        if fault:
            dropped[fault] += 1
        else:
            texts.append(variant)
    return Variants(tuple(texts), dict(dropped))


def unquoted(variant: str, text: str) -> str:
    """Return a variant without the quotation marks that models like to put around all of it."""
    found = variant.strip()
    for first, last in ('""', "“”", "''", "«»"):
        if len(found) > 1 and found[0] == first and found[-1] == last and text.strip()[:1] != first:
            return found[1:-1].strip()
    return found


def _fault(text: str, variant: str, earlier: Sequence[str], protection: Protection, *, cut: bool) -> str | None:
    if cut:
        return CUT
    if not variant:
        return EMPTY
    words = " ".join(variant.split())
    if words == " ".join(text.split()):
        return EQUAL
    if any(words == " ".join(other.split()) for other in earlier):
        return REPEATED
    kept, had = (_protected(part, protection) for part in (variant, text))
    if had - kept:
        return LOST
    if kept.keys() - had.keys():
        return ADDED
    return NEGATED if negations(variant) != negations(text) else None


def _protected(text: str, protection: Protection) -> Counter[str]:
    return Counter(" ".join(text[start:end].split()).casefold().strip(".,:;!?") for start, end in protection.spans(text))


def lines_of(found: Rewritten) -> list[str]:
    """Return the lines of a table, without its first."""
    return [
        json.dumps({"operation": index, "text": text, "variants": list(made.texts), "dropped": dict(made.dropped)}, ensure_ascii=False)
        for (index, text), made in found.items()
    ]


def head_of(made_with: Mapping[str, Any]) -> str:
    """Return the first line of a table: what its texts were written with."""
    return json.dumps({"madeWith": made_with}, ensure_ascii=False, sort_keys=True)


def read(path: Path, head: str) -> dict[Key, Variants]:
    """Return what a table holds; nothing where there is none, or one that was made with something else. Half a last line is left out."""
    if not path.is_file():
        return {}
    # Cut before it is decoded: a write that was cut off may end within a character.
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    first, *lines = whole.decode().split("\n")
    found: dict[Key, Variants] = {}
    for line in lines if first == head else ():
        wire = json.loads(line)
        found[wire["operation"], wire["text"]] = Variants(tuple(wire["variants"]), wire["dropped"])
    return found


def add(path: Path, found: Rewritten) -> None:
    """Add lines to a table."""
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:  # as `write_atomically` writes
        file.writelines(f"{line}\n" for line in lines_of(found))


def replace_unless_whole(path: Path, head: str, found: Rewritten) -> None:
    """Have a table hold these variants, each in a whole line: one that does is left as it is."""
    if path.is_file() and path.read_bytes().endswith(b"\n") and read(path, head) == found:
        with path.open(encoding="utf-8") as file:
            if file.readline() == f"{head}\n":
                return
    write_atomically(path, "".join(f"{line}\n" for line in [head, *lines_of(found)]))


def digest_of(found: Rewritten) -> str:
    """Return the sha256, in hex, of all texts and variants, in whatever order they were written."""
    return hashlib.sha256("\n".join(sorted(lines_of(found))).encode(errors="backslashreplace")).hexdigest()


def to_report(found: Rewritten) -> dict[str, Any]:
    """Return how many texts were rewritten, and how many variants were kept and dropped, and why, as in report.json."""
    dropped: Counter[str] = Counter()
    for made in found.values():
        dropped.update(made.dropped)
    kept = sum(len(made.texts) for made in found.values())
    return {"texts": len(found), "kept": kept, "dropped": {reason: dropped[reason] for reason in DROPPED if dropped[reason]}}
