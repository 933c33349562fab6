"""Which of a table's columns can be texts, answers or classes: `finetune init` guesses from these alone.

By name a column is about its row (an id, a date), a class or a title; by the first rows it holds words, whole numbers or nothing that
can be learned, and repeats itself clearly or not. Tests: tests/finetune/cli/test_guess.py, test_guess_classes.py.
"""

import re
from collections.abc import Sequence
from typing import Any

from finetune.api.columns import COMPLETION_NAMES, LABEL_NAMES, PROMPT_NAMES, TEXT_NAMES
from finetune.cli.datafile import FirstRows, is_words
from finetune.cli.rowshapes import classes_of

ABOUT_A_ROW = re.compile(
    r"(.*[_\W])?(ids?|uuid|index|hash|url|link|date|time|timestamp|lang|language|split|subset|dataset|file|filename|licen[sc]e"
    r"|count|length|meta|metadata)|.*[_\W]source",
    re.I,
)
LABELS = (*LABEL_NAMES, "rating", "stars", "emotion", "topic", "polarity")
"""What a class is called: the whole name of a column, or its first or last word."""
LABELS_IF_CLEAR = ("target",)
"""Also the name of a translation, or of any text that is to be written: a class where it repeats itself clearly."""
SCALES = ("score", "grade", "level")
"""What may be a class though it is a number, where it repeats itself clearly."""
NO_CLASS = (*COMPLETION_NAMES, "assistant", "solution", "reply", "summary", "source", "author", "user", "annotator", "title")
"""Names of columns that say something, or where a text is from: no class to learn, however often they repeat themselves."""
TITLES = {"title", "headline", "subject"}
TEXTS = (*TEXT_NAMES, *PROMPT_NAMES)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
WHOLE = re.compile(r"\s*[-+]?\d[\d,]*(\.0+)?\s*")
DECIMAL = re.compile(r"\s*[-+]?\d*\.(?!0*\s*$)\d+([eE][-+]?\d+)?\s*")
FEW_CLASSES = 2
LARGEST_SHARE, CLEAR_SHARE, CLEAR_ROWS = 0.75, 0.25, 8
"""Classes for each row. A column that is called a class may have nearly as many as there are rows: of 200 rows in random order and 150
classes there are 110. One that is called otherwise has to repeat itself clearly, in no fewer rows than show it."""


def first_known(known: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the column with the likeliest of the known names."""
    return next((name for wanted in known for name in names if name.lower() == wanted), None)


def filled(first: FirstRows) -> list[str]:
    """Return the columns that hold words, or whole numbers that are written as texts, as a prompt or an answer may be."""
    texts = set(first.texts())
    return [name for name in first.names if name in texts or any(_is_whole_text(row.get(name)) for row in first.rows)]


def own_texts(first: FirstRows) -> list[str]:
    """Return the columns of words that are not about their row, nor the same in all rows."""
    about = {name for name in repeating(first) if name.lower() == "source"}  # one that does not repeat itself is a text to translate
    return [name for name in first.texts() if name not in about and not ABOUT_A_ROW.fullmatch(name) and not _is_constant(first, name)]


def repeating(first: FirstRows) -> dict[str, int]:
    """Return the columns that repeat themselves clearly, with how many classes they would be."""
    counted = {name: count_classes(first, name) for name in first.names}
    return {name: classes for name, (rows, classes) in counted.items() if rows >= CLEAR_ROWS and 0 < classes <= CLEAR_SHARE * rows}


def unrepeated_texts(first: FirstRows) -> list[str]:
    """Return the columns of words that do not repeat themselves clearly."""
    repeated = repeating(first)
    return [name for name in first.texts() if name not in repeated]


def class_columns(first: FirstRows) -> dict[str, int]:
    """Return the columns that are called a class and hold few, the likeliest first, with how many."""
    repeated, found = repeating(first), dict[str, int]()
    for name in sorted(filter(is_called_class, first.names), key=_unlikeliness):
        rows, classes = count_classes(first, name)
        few = name in repeated if name.lower() in LABELS_IF_CLEAR else 0 < classes <= max(FEW_CLASSES, LARGEST_SHARE * rows)
        found |= {name: classes} if few else {}
    return found


def clear_classes(first: FirstRows) -> dict[str, int]:
    """Return the columns that repeat several classes clearly, and are not called otherwise, with how many.

    Numbers are classes where the name says so, or where there are two of them: one for no, and one for yes.
    """
    worded = set(first.texts())
    return {
        name: classes
        for name, classes in repeating(first).items()
        if classes > 1 and name.lower() not in NO_CLASS
        if is_called_class(name)
        or (not ABOUT_A_ROW.fullmatch(name) and (name in worded or classes == FEW_CLASSES or _ends(name) & set(SCALES)))
    }


def text_beside(first: FirstRows, label: str) -> str | None:
    """Return the text that a class is of: by its name, else the only one that is no title and does not repeat itself, else the only one."""
    own, repeated = [name for name in own_texts(first) if name != label], repeating(first)
    likely = [name for name in own if name not in repeated and not is_title(name)]
    return first_known(TEXTS, own) or next((names[0] for names in (likely, own) if len(names) == 1), None)


def count_classes(first: FirstRows, name: str) -> tuple[int, int]:
    """Return how many rows have a class in a column, and how many classes there are; zeros if it holds anything else."""
    values = [row.get(name) for row in first.rows]
    found = [classes_of(value) for value in values]
    decimals = any(isinstance(value, str) and DECIMAL.fullmatch(value) for value in values)
    if None in found or (decimals and not any(map(is_words, values))):
        return 0, 0
    return sum(map(bool, found)), len({one for classes in found for one in classes or ()})


def is_called_class(name: str) -> bool:
    """Return whether a column is called as classes are."""
    return name.lower() in LABELS_IF_CLEAR or bool(_ends(name) & set(LABELS))


def is_surely_class(name: str) -> bool:
    """Return whether a column is called as classes alone are."""
    return name.lower() not in LABELS_IF_CLEAR and is_called_class(name)


def is_title(name: str) -> bool:
    """Return whether a column is called as titles are."""
    return bool(_ends(name) & TITLES)


def _unlikeliness(name: str) -> tuple[bool, int]:
    """Whole names come before words of a name, and what is a class wherever it stands before what may be something else."""
    known = (*LABELS, *LABELS_IF_CLEAR)
    return name.lower() not in known, min(known.index(word) for word in _ends(name) if word in known)


def _ends(name: str) -> set[str]:
    """Return a name in lower case, and its first and last word."""
    words = [word.lower() for word in WORD.findall(name)] or [name]
    return {name.lower(), words[0], words[-1]}


def _is_constant(first: FirstRows, name: str) -> bool:
    return len(first.rows) >= CLEAR_ROWS and len({str(row.get(name)) for row in first.rows}) == 1


def _is_whole_text(value: Any) -> bool:
    return isinstance(value, str) and bool(WHOLE.fullmatch(value))
