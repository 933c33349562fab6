"""Finds the prompt and completion columns: those that the job names, the default ones, or well-known names.

For every task that answers prompts. Tests: tests/trainer/data/test_layout.py.
"""

from collections.abc import Mapping, Sequence

from finetune.api.columns import COMPLETION_NAMES, PROMPT_NAMES, Columns
from finetune.api.tasks import TASKS, in_words
from trainer.data.layout import HEADER_FIX, FirstRows, Layout, mapping, texts_of

ADDITION_NAMES = ("input", "context")
"""Columns that hold the input of an `instruction`."""
MORE_PROMPTS = ("user", "human", "problem", "source", "text", "sentence", "article", "title")
MORE_COMPLETIONS = ("assistant", "bot", "solution", "chosen", "target", "reply", "summary", "label", "category")
DEFAULTS = ("prompt", "completion")


def pair_layout(given: Columns, names: Sequence[str]) -> Layout:
    """Return the layout of rows with the columns `names`; the default names if nothing else fits."""
    system = given.system
    if given.prompt is not None or given.completion is not None:
        return _pair(given.prompt or "prompt", given.completion or "completion", system, names)
    if set(DEFAULTS) <= set(names):
        return _pair(*DEFAULTS, system, names)
    prompts, completions = [name for name in PROMPT_NAMES if name in names], [name for name in COMPLETION_NAMES if name in names]
    if "instruction" in prompts and "input" in prompts:
        prompts.remove("input")
    if len(prompts) == 1 and len(completions) == 1:
        return _pair(prompts[0], completions[0], system, names, guessed=True)
    return _layout(*DEFAULTS, system)


def chosen(given: Mapping[str, str | None], known: Mapping[str, Sequence[str]], names: Sequence[str]) -> Layout:
    """Return the columns of several roles: the one that the job names, else the first of the known names, else the only other one.

    The first known name of a role is its default. A role for which the rows have several of the others gets the default.
    """
    columns, guessed = {}, False
    for role, (default, *others) in known.items():
        found = [name for name in others if name in names]
        column = given[role] or (found[0] if default not in names and len(found) == 1 else default)
        guessed |= given[role] is None and column != default
        columns[role] = column
    return Layout(columns, guessed=guessed)


def columns_advice(roles: Sequence[str], first: FirstRows) -> str:
    """Return a fix for rows that lack one of these columns: the columns with text, in their order."""
    if inner := first.inner_rows(roles[0]):
        return f"if the rows are the items of the list {inner!r}, write these as the rows, one object per line"
    texts = texts_of(first, len(roles))
    return f"write columns: {mapping(dict(zip(roles, texts, strict=False)))}" if texts else "no column contains text; write rows with one"


def _pair(prompt: str, completion: str, system: str | None, names: Sequence[str], *, guessed: bool = False) -> Layout:
    others = (name for name in ADDITION_NAMES if name in names and name not in (prompt, completion, system))
    return _layout(prompt, completion, system, next(others, None) if prompt == "instruction" else None, guessed=guessed)


def _layout(prompt: str, completion: str, system: str | None, addition: str | None = None, *, guessed: bool = False) -> Layout:
    columns = {"prompt": prompt, "completion": completion} | ({"system": system} if system is not None else {})
    return Layout(columns, addition, guessed)


def pair_advice(layout: Layout, column: str, first: FirstRows, instead: Mapping[str, str] | None = None) -> str:
    """Return a fix for rows that lack a column of the pair; `instead` are columns that the task can read in its place."""
    if inner := first.inner_rows(column):
        return f"if the rows are the items of the list {inner!r}, write these as the rows, one object per line"
    if first.names == ["text"]:
        tasks = in_words((name for name, facts in TASKS.items() if facts.columns == ("text",)), "or")
        return f"plain text has no questions and answers: use task: {tasks} for it, or name other files"
    proposed = instead or _proposal(layout, first)
    fix = f"write columns: {mapping(proposed)}" if proposed else "no column contains suitable text; write rows with one"
    if "…" in proposed.values():
        fix += " with the missing column; other columns must be converted to text"
    return f"{fix}; if the first line is a row already, {HEADER_FIX}" if first.records[0].headed else fix


def _proposal(layout: Layout, first: FirstRows) -> dict[str, str]:
    """Suggest prompt and completion columns; … for one that is unclear, nothing if both are."""
    texts = [name for name in texts_of(first, 2) if name != "rejected"]
    answers = {name for name in texts if name.lower() in (*COMPLETION_NAMES, *MORE_COMPLETIONS)}
    prompt, completion = layout.get("prompt"), layout.get("completion")
    if prompt not in texts:
        prompt = _best(texts, (*PROMPT_NAMES, *MORE_PROMPTS), {completion, *answers})
    if completion not in texts:
        completion = _best(texts, (*COMPLETION_NAMES, *MORE_COMPLETIONS), {prompt})
    if prompt is None and completion is None:
        return {}
    proposed = {"prompt": prompt or "…", "completion": completion or "…"}
    return {role: column for role, column in proposed.items() if role != column}


def _best(texts: Sequence[str], known: Sequence[str], taken: set[str | None]) -> str | None:
    """Return the column with a known name; of unknown names only an unambiguous one, or the first of two."""
    free = [name for name in texts if name not in taken]
    otherwise = free[0] if free and len(texts) <= 2 else None
    return next((name for wanted in known for name in free if name.lower() == wanted), otherwise)
