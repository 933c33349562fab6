"""Decides which columns of a source hold what: those that the job names, the usual ones, or a pair of well-known names.

Looks at the first rows of a file. Where nothing fits, the error lists the columns and proposes lines for the job file.
Tests: tests/trainer/data/test_layout.py.
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from finetune.api.errors import InputError
from finetune.api.sources import COMPLETION_NAMES, PROMPT_NAMES, Columns
from finetune.api.tasks import TaskName
from trainer.data.jsonobject import is_turn, is_turns_by_member
from trainer.data.records import Record

LOOKED_AT = 20
"""Items of a list: a column of embeddings has thousands of numbers in each row."""
SAMPLE_RECORDS = 50
"""Rows of a file that are looked at: enough to tell its columns from one odd row."""
CONVERSATION_NAMES = ("messages", "conversations", "conversation")
TEXT_NAMES = ("text", "content", "document")
ADDITION_NAMES = ("input", "context")
"""Beside `instruction` these hold what it is about."""
METADATA = re.compile(
    r"^(.*[_\W])?(ids?|uuid|guid|idx|index|hash|sha\d*|md5|urls?|uri|link|source|src_file|dataset|origin|category|categories|lang|language|locale"
    r"|date|time|timestamp|created(_?at)?|updated(_?at)?|licen[sc]e|author|split|subset|tags?|meta|metadata|model|model_name|generator"
    r"|file|filename|file_name|version|score|rating|difficulty|quality|status)$",
    re.IGNORECASE,
)
"""Names of columns that tell about a row and are no part of it, as long as what they hold is short."""
SHORT_CHARACTERS = 40
MORE_PROMPTS = ("user", "human", "problem", "source", "text", "sentence", "article", "title")
MORE_COMPLETIONS = ("assistant", "bot", "solution", "chosen", "target", "reply", "summary", "label", "category")
PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")
YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@dataclass(frozen=True)
class Layout:
    """Which columns of one file hold what. Either `messages`, or `prompt` and `completion`, or `text` is set."""

    prompt: str | None = None
    completion: str | None = None
    system: str | None = None
    messages: str | None = None
    text: str | None = None
    addition: str | None = None
    """Column that is written after the prompt, where a row has it."""
    guessed: bool = False
    """The names are neither given nor the defaults."""

    def needed(self) -> dict[str, str]:
        """Return the columns that every row must have, by the field that names them."""
        roles = ("prompt", "completion", "system", "messages", "text")
        return {role: column for role in roles if (column := getattr(self, role)) is not None}


class FirstRows:
    """What the first rows of a file show of its columns."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        shapes = Counter(tuple(map(str, record.values)) for record in records)
        self.names: list[str] = list(dict.fromkeys(name for shape, _ in shapes.most_common() for name in shape))
        """All names, those of the most common form of a row first."""

    def values(self, name: str) -> list[Any]:
        """Return what the rows hold in a column."""
        return [record.values[name] for record in self.records if name in record.values]

    def holds_text(self, name: str, *, besides: Record | None = None) -> bool:
        """Tell whether a row, other than one, holds words in a column."""
        rows = [record for record in self.records if record is not besides]
        return any(isinstance(value := record.values.get(name), str) and value.strip() for record in rows)

    def length(self, name: str) -> int:
        """Return how many characters the rows hold in a column of texts."""
        return sum(len(value) for value in self.values(name) if isinstance(value, str))

    def holds_objects(self, name: str) -> bool:
        """Tell whether a row holds a list of objects in a column, as it is or as its JSON."""
        return self.holds_turns(name) or any(
            isinstance(value, list) and any(isinstance(item, dict) for item in value) for value in self.values(name)
        )

    def inner_rows(self, wanted: str) -> str | None:
        """Return the column of a list whose items look like the rows that are meant: they have a wanted column, or a pair."""
        for name in self.names:
            items = [value[0] for value in self.values(name) if isinstance(value, list) and value and isinstance(value[0], dict)]
            if any(wanted in item or all(set(item) & set(known) for known in (PROMPT_NAMES, COMPLETION_NAMES)) for item in items):
                return name
        return None

    def holds_turns(self, name: str) -> bool:
        """Tell whether a row holds a conversation in a column, as a list or as its JSON."""
        return any(
            (isinstance(value, list) and any(map(is_turn, value)))
            or is_turns_by_member(value)
            or (isinstance(value, str) and value.lstrip().startswith(("[{", "[ {")))
            for value in self.values(name)
        )


def tells_about(name: str, lengths: Sequence[int]) -> bool:
    """Tell whether a column only tells about its rows, by its name and by how long its texts are, as `text_length` counts."""
    return METADATA.match(name) is not None and (not lengths or median(lengths) < SHORT_CHARACTERS)


def text_length(value: Any) -> int:
    """Return the characters of the longest text in a value; a single word counts as none, since addresses and hashes are long."""
    if isinstance(value, str):
        return len(value) if len(value.split()) > 1 else 0
    members = value.values() if isinstance(value, Mapping) else value[:LOOKED_AT] if isinstance(value, list) else ()
    return max(map(text_length, members), default=0)


def layout_of(field: str, task: TaskName, columns: Columns | None, first: FirstRows | None) -> Layout:
    """Return the layout of a file; `first` are its first rows, None before it was read."""
    given = columns or Columns()
    ignored = set(given.ignore or ())
    names = [name for name in (first.names if first else []) if name not in ignored]
    if task is TaskName.LANGUAGE_MODELING:
        _refuse_columns(field, given, ("prompt", "completion", "system", "messages"), f"task {task} reads one column, text")
        found = [name for name in TEXT_NAMES if name in names]
        if given.text is None and "text" not in found and len(found) == 1:
            return Layout(text=found[0], guessed=True)
        return Layout(text=given.text or "text")
    _refuse_columns(field, given, ("text",), f"task {task} reads prompt and completion, or messages")
    if given.messages is not None:
        _refuse_columns(field, given, ("completion",), "a list of messages holds the answers too")
        return Layout(messages=given.messages, system=given.system)
    if given.prompt is None and given.completion is None:
        return _usual_layout(given.system, names, first)
    return _pair(given.prompt or "prompt", given.completion or "completion", given.system, names)


def _usual_layout(system: str | None, names: Sequence[str], first: FirstRows | None) -> Layout:
    if {"prompt", "completion"} <= set(names):
        return _pair("prompt", "completion", system, names)
    conversation = next((name for name in CONVERSATION_NAMES if name in names), None)
    if first is not None and conversation is not None and (conversation == "messages" or first.holds_objects(conversation)):
        return Layout(messages=conversation, system=system)
    prompts, completions = [name for name in PROMPT_NAMES if name in names], [name for name in COMPLETION_NAMES if name in names]
    if "instruction" in prompts and "input" in prompts:
        prompts.remove("input")
    if len(prompts) == 1 and len(completions) == 1:
        return _pair(prompts[0], completions[0], system, names, guessed=True)
    return Layout(prompt="prompt", completion="completion", system=system)


def _pair(prompt: str, completion: str, system: str | None, names: Sequence[str], *, guessed: bool = False) -> Layout:
    others = (name for name in ADDITION_NAMES if name in names and name not in (prompt, completion, system))
    return Layout(prompt, completion, system, addition=next(others, None) if prompt == "instruction" else None, guessed=guessed)


def check_layout(field: str, task: TaskName, layout: Layout, first: FirstRows, name: str) -> None:
    """Raise InputError where none of the first rows has a column that every row must have."""
    for role, column in layout.needed().items():
        if column not in first.names:
            where = f"{name} {first.records[0].where}"
            has = ", ".join(name or '""' for name in first.names) or "none"
            problem = f"{column!r} is not a column of {where} (it has: {has})"
            raise InputError(f"{field}.columns.{role}", problem, _column_fix(task, layout, role, column, first))


def _refuse_columns(field: str, columns: Columns, names: Sequence[str], reason: str) -> None:
    for name in names:
        if getattr(columns, name) is not None:
            raise InputError(f"{field}.columns.{name}", f"has no meaning here: {reason}", "remove it, or change the task")


def _column_fix(task: TaskName, layout: Layout, role: str, column: str, first: FirstRows) -> str:
    names = first.names
    separator = re.search(r"[;\t|,:^~]", names[0]) if len(names) == 1 else None
    if separator is not None:
        return f"the file seems to separate its cells otherwise: give delimiter: {json.dumps(separator[0])}"
    header = "put a line with the names of the columns before it, such as prompt,completion"
    if first.records[0].headed and any(map(_is_sentence, names)):
        return f"the first line seems to be a row: {header}"
    if close := difflib.get_close_matches(column, names, n=1) or [other for other in names if other.lower() == column.lower()]:
        return f"did you mean columns.{role}: {quoted(close[0])}?{_delimiter_advice(close[0]) if first.records[0].headed else ''}"
    if task is TaskName.LANGUAGE_MODELING:
        return _text_fix(first)
    if inner := first.inner_rows(column):
        return f"if the rows are the items of the list {inner!r}, write these as the rows, one object per line"
    if names == ["text"]:
        return "a plain text has no questions and answers: for it use task: language-modeling, or name other files"
    proposed = _proposal(layout, first)
    fix = f"write columns: {_mapping(proposed)}" if proposed else "no column holds a text that could be it; write rows with one"
    if "…" in proposed.values():
        fix += " with the column that is missing; other columns have to be turned into text"
    return f"{fix}; if the first line is a row already, {header}" if first.records[0].headed else fix


def _delimiter_advice(name: str) -> str:
    """Say that a name may be several: where several characters could divide a table, the wrong one may have been taken."""
    other = re.search(r"[;\t|,]", name)
    return f" Or give delimiter: {json.dumps(other[0])}, if that separates the cells" if other else ""


def _text_fix(first: FirstRows) -> str:
    texts = sorted(_texts(first, 1), key=first.length, reverse=True)
    naming = f"write columns: {_mapping({'text': texts[0]})}" if texts else "name a column that holds text as columns.text"
    if {"prompt", "messages", "completion"} & set(first.names) or any(map(first.holds_turns, first.names)):
        return f"for rows of questions and answers use task: chat, else {naming}"
    return naming


def _texts(first: FirstRows, needed: int) -> list[str]:
    """Return the columns that hold words; those that tell about the row are among them only where others are too few."""
    texts = [name for name in first.names if first.holds_text(name) and not first.holds_turns(name)]
    own = [name for name in texts if not tells_about(name, [text_length(value) for value in first.values(name)])]
    return own if len(own) >= needed else texts


def _proposal(layout: Layout, first: FirstRows) -> dict[str, str]:
    """Return what the job could name as prompt and completion, or as messages; … for one that cannot be told, nothing without any."""
    turns = [name for name in first.names if first.holds_turns(name)]
    if turns:
        return {"messages": next((name for name in ("chosen", *turns) if name in turns), turns[0])}
    texts = [name for name in _texts(first, 2) if name != "rejected"]
    answers = {name for name in texts if name.lower() in (*COMPLETION_NAMES, *MORE_COMPLETIONS)}
    prompt = layout.prompt if layout.prompt in texts else _best(texts, (*PROMPT_NAMES, *MORE_PROMPTS), {layout.completion, *answers})
    completion = layout.completion if layout.completion in texts else _best(texts, (*COMPLETION_NAMES, *MORE_COMPLETIONS), {prompt})
    if prompt is None and completion is None:
        return {}
    proposed = {"prompt": prompt or "…", "completion": completion or "…"}
    return {role: column for role, column in proposed.items() if role != column}


def _best(texts: Sequence[str], known: Sequence[str], taken: set[str | None]) -> str | None:
    """Return the column of a known name; of unknown names only one that leaves no choice, or the first of two."""
    free = [name for name in texts if name not in taken]
    otherwise = free[0] if free and len(texts) <= 2 else None
    return next((name for wanted in known for name in free if name.lower() == wanted), otherwise)


def quoted(name: str) -> str:
    """Return a name as YAML takes it."""
    plain = name == "…" or (PLAIN_NAME.fullmatch(name) and name.lower() not in YAML_WORDS)
    return name if plain else json.dumps(name, ensure_ascii=False)


def _mapping(columns: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{role}: {quoted(column)}" for role, column in columns.items()) + "}"


def _is_sentence(name: str) -> bool:
    return len(name.split()) > 3 or name.rstrip().endswith((".", "?", "!"))
