"""What augmentation would do to the rows of a job, in lines of a terminal. Test: tests/trainer/augmentation/test_shown.py."""

from collections.abc import Sequence

WIDTH = 60
"""Characters of each text that are shown."""
BEFORE = 20
"""Of them, those that come before the first difference at most."""


def pair_lines(examples: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each pair of texts, before and after, from shortly before their first difference on."""
    return [" → ".join(_around(text, _difference(before, after)) for text in (before, after)) for before, after in examples]


def _difference(one: str, other: str) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _around(text: str, place: int) -> str:
    start = place - BEFORE if place > WIDTH - BEFORE else 0
    shown = " ".join(text[start : start + WIDTH].split())
    return f"{'…' if start else ''}{shown}{'…' if start + WIDTH < len(text) else ''}"
