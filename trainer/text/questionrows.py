"""Reads a row as a question about a text: its columns by name, its answers in each form that files have them in.

Tests: tests/trainer/text/test_questionrows.py.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from finetune.api.columns import Columns
from trainer.data.jsonrows import parse
from trainer.data.layout import FirstRows, Layout, mapping, texts_of
from trainer.data.noticed import Remark
from trainer.data.reading import Row
from trainer.data.records import kind_of, shown
from trainer.data.rows import Skipped
from trainer.text.questions import ELSEWHERE, Answer, QuestionExample

KNOWN: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "instruction", "query"),
    "context": ("context", "input", "passage", "paragraph", "document"),
    "answers": ("answers", "answer", "output", "response", "completion"),
}
"""Names that each column may have; the first is the default, of the others there must be only one. (`answer` is a default too.)"""
SINGULAR = "answer"
IMPOSSIBLE, START = "is_impossible", "answer_start"
BESIDE = (IMPOSSIBLE, "plausible_answers")
"""Columns of SQuAD that say which questions have no answer, and what a reader might have taken for it."""
OF_ANSWERS = (*BESIDE, START)
"""Columns that say something of the answers."""
FORMS = 'a text, a list of texts, or {"text": [...], "answer_start": [...]}'
MOVED = Remark(each="{name} is not where the answer begins in {rows}", after="; the nearest place that has it is taken")


def question_layout(given: Columns, names: Sequence[str]) -> Layout:
    """Return which of the columns `names` hold question, context and answers."""
    found = {role: getattr(given, role) or _known(known, names) for role, known in KNOWN.items()}
    guessed = any(
        getattr(given, role) is None and column not in (known[0], SINGULAR)
        for (role, column), known in zip(found.items(), KNOWN.values(), strict=True)
    )
    return Layout(found, guessed=guessed)


def _known(known: Sequence[str], names: Sequence[str]) -> str:
    default, others = known[0], [name for name in known[1:] if name in names]
    if default in names:
        return default
    return SINGULAR if SINGULAR in others else others[0] if len(others) == 1 else default


def question_advice(layout: Layout, column: str, first: FirstRows) -> str:
    """Return a fix for rows that lack a required column."""
    if inner := first.inner_rows(column):
        return f"if the rows are the items of the list {inner!r}, write these as the rows, one object per line"
    texts = sorted(texts_of(first, 3), key=first.length, reverse=True)
    free = [name for name in texts if name not in layout.columns.values()]
    lacking = [role for role, name in layout.columns.items() if name not in first.names]
    proposed = dict(zip(sorted(lacking, key=lambda role: role != "context"), free, strict=False))
    if len(proposed) == len(lacking):
        return f"write columns: {mapping(proposed)}, if these are the {', '.join(lacking)}"
    return f"a row needs a question, the text that it is answered from, and its answers: {FORMS}"


def question_in(row: Row) -> QuestionExample | Skipped:
    """Return the question in a row; raises InputError for one whose answers cannot be read."""
    row.refuse_meaning(answers=True)
    row.read.update(name for name in BESIDE if row.is_free(name))
    question, context = row.words("question"), row.words("context")
    for words in (question, context):
        if isinstance(words, Skipped):
            return words
    answers = _answers(row)
    if isinstance(answers, Skipped):
        return answers
    different: dict[str, Given] = {}
    for text, start in answers:
        different.setdefault(text.strip(), (text, start))
    placed = [_place(row, text, start, str(context)) for text, start in different.values()]
    return QuestionExample.of(row.origin, str(question), str(context), placed)


Given = tuple[str, int | None]
"""An answer's text, and where the row says that it begins."""


def _answers(row: Row) -> list[Given] | Skipped:
    """Return the answers; none for a question that the row marks as one without: an empty list, or is_impossible."""
    column, impossible = row.layout.columns["answers"], row.record.values.get(IMPOSSIBLE) if row.is_free(IMPOSSIBLE) else None
    value = _decoded(row.value("answers"))
    found = _read(row, column, value)
    told = [(text, start) for text, start in found if text.strip()]
    if impossible is True:
        if told:
            problem = f"{IMPOSSIBLE} is true, but {column!r} holds {shown(told[0][0])}"
            raise row.fault("answers", problem, f"write an empty list of answers, or {IMPOSSIBLE}: false")
        return []
    if told:
        return told
    # A list without items says that there is no answer; an empty text may be one that was forgotten.
    says_none = impossible is None and value is not None and not isinstance(value, str) and not found
    return [] if says_none else Skipped(column)


def _read(row: Row, column: str, value: Any) -> list[Given]:
    if value is None:
        return []
    if isinstance(value, str):
        return [(row.text("answers", repr(column), value), _start(row, START, _beside(row)))]
    if isinstance(value, Mapping):
        return _of_mapping(row, column, value)
    if not isinstance(value, Sequence):
        raise row.fault("answers", f"{column!r} is {kind_of(value)}: {shown(str(value))}", f"write {FORMS}")
    found: list[Given] = []
    for index, item in enumerate(value):
        path = f"{column}[{index}]"
        found += _of_mapping(row, path, item) if isinstance(item, Mapping) else [(row.text("answers", path, item), None)]
    return found


def _decoded(value: Any) -> Any:
    """Return answers that a table stores as JSON; a text that merely begins with a bracket is left as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            found = parse(value)
            items = found if isinstance(found, list) else [found]
            if all(isinstance(item, str) or (isinstance(item, dict) and "text" in item) for item in items):
                return found
    return value


def _of_mapping(row: Row, path: str, value: Mapping[str, Any]) -> list[Given]:
    """Return the answers of {text, answer_start}: one of each, or a list of each."""
    if "text" not in value:
        raise row.fault("answers", f"{path} has no 'text' (it has: {', '.join(map(str, value)) or 'nothing'})", f"write {FORMS}")
    texts, starts = value["text"], value.get(START)
    if not isinstance(texts, list):
        texts, starts = [texts], [starts]
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise row.fault(
            "answers", f"{path} has {len(texts)} texts, but not as many in {START}", "give each text the character at which it begins"
        )
    return [
        (row.text("answers", f"{path}.text", text), _start(row, f"{path}.{START}", start))
        for text, start in zip(texts, starts, strict=True)
    ]


def _beside(row: Row) -> Any:
    """Return where a column beside a single answer says that it begins."""
    if not row.is_free(START):
        return None
    row.read.add(START)
    return row.record.values.get(START)


def _start(row: Row, path: str, value: Any) -> int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise row.fault(
            "answers", f"{path} is not a number of characters: {shown(str(value))}", "write the index of the answer's first character"
        )
    return number


def _place(row: Row, text: str, start: int | None, context: str) -> Answer:
    """Return an answer at its place in the context: where the row says, else the nearest that has it, else the first."""
    words = text.strip()
    wanted = None if start is None else start + len(text) - len(text.lstrip())
    if wanted is not None and context.startswith(words, wanted):
        return Answer(words, wanted)
    if wanted is None:
        return Answer(words, context.find(words))
    before, after = context.rfind(words, 0, wanted + len(words)), context.find(words, wanted)
    near = min((place for place in (before, after) if place != ELSEWHERE), key=lambda place: abs(place - wanted), default=ELSEWHERE)
    if near == ELSEWHERE:
        problem = f"the context does not hold the answer {shown(words)}, which should begin at character {start}: {shown(context[wanted:])}"
        raise row.fault("answers", problem, f"write the answer as the context has it, or leave out {START} if it is not a part of it")
    row.noticed.remark(MOVED, [START])
    return Answer(words, near)
