"""Guesses what the rows of a file are for: the task and the columns, by their names first, then by what the first rows hold.

Tests: tests/finetune/cli/test_guess.py.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetune.api.columns import COMPLETION_NAMES, LABEL_NAMES, PROMPT_NAMES, TEXT_NAMES
from finetune.api.errors import BadInputError, InputError
from finetune.api.sources import LANGUAGE, DataFormat
from finetune.api.tasks import TASKS, TaskName, in_words
from finetune.cli.datafile import FirstRows
from finetune.cli.rowshapes import answer_texts, classes_of, holds_nested_questions, language_of, questions_in

CONVERSATIONS = ("messages", "conversations", "conversation")
NO_CLASS = (*COMPLETION_NAMES, "assistant", "solution", "reply", "summary", "source", "author", "title")
"""Names of columns that say something, or where a text is from: no class to learn, however often they repeat themselves."""
PROMPTS = (*PROMPT_NAMES, "user", "message", "text", "sentence", "problem", "source", "document", "title")
COMPLETIONS = (*COMPLETION_NAMES, "assistant", "label", "intent", "category", "class", "target", "solution", "reply", "summary")
"""Names of columns by which a pair is known, the likelier ones first."""
QUESTIONS, CONTEXTS, ANSWERS = ("question",), ("context", "passage", "paragraph"), ("answers", "answer")
SOURCES, TARGETS = ("source", "src"), ("target", "tgt", "translation")
BY_LANGUAGE = "translation"
"""A column with the texts of a row by their languages, as data sets on the hub have it."""
KNOWN: Mapping[str, Sequence[str]] = {
    "prompt": PROMPTS, "completion": COMPLETIONS, "text": (*TEXT_NAMES, *PROMPTS), "label": (*LABEL_NAMES, *COMPLETIONS),
    "source": (*SOURCES, *PROMPTS), "target": (*TARGETS, *COMPLETIONS), "hypothesis": ("hypothesis", *PROMPTS),
    "reference": ("reference", *COMPLETIONS), "question": (*QUESTIONS, *PROMPTS), "context": (*CONTEXTS, "input", "document"),
    "answers": (*ANSWERS, *COMPLETIONS),
}  # fmt: skip
"""Names by which a column is known once the task is."""
IN_WORDS = {
    "prompt": "prompts", "completion": "answers", "text": "texts", "label": "classes", "source": "texts", "target": "translations",
    "question": "questions", "context": "contexts", "answers": "answers", "hypothesis": "recognized texts", "reference": "right texts",
}  # fmt: skip
ABOUT_A_ROW = re.compile(r"(.*[_\W])?(id|uuid|index|hash|url|link|date|time|timestamp|lang|language|split|file|filename|licen[sc]e)", re.I)
TO_FILL_IN = "NAME_OF_THE_COLUMN"
FEW_CLASSES = 2
LARGEST_SHARE, CLEAR_SHARE, CLEAR_ROWS = 0.75, 0.25, 8
"""Classes for each row. A column that is called a class may have nearly as many as there are rows: of 200 rows in random order and 150
classes there are 110. One that is called otherwise has to repeat itself clearly, in no fewer rows than show it."""


@dataclass(frozen=True)
class Guess:
    """What the rows seem to be for. `reason` is for the user."""

    task: TaskName
    reason: str
    columns: dict[str, str] = field(default_factory=dict)
    """By role; none where the trainer finds them itself."""
    languages: tuple[str, str] | None = None
    """Codes of the languages of texts and translations."""

    @property
    def open(self) -> bool:
        """Whether the name of a column has to be filled in."""
        return TO_FILL_IN in self.columns.values()


def guess_from(first: FirstRows, task: TaskName | None = None) -> Guess:
    """Return task and columns that fit the first rows of a file; if `task` is given, the columns that fit it."""
    if first.format is DataFormat.TEXT:
        if task not in (None, TaskName.LANGUAGE_MODELING):
            problem = f"{task} needs {TASKS[task].row}, and a file of plain text has no columns"
            raise BadInputError([InputError("--task", problem, f"give a table, or --task {TaskName.LANGUAGE_MODELING}")])
        return Guess(TaskName.LANGUAGE_MODELING, "it is plain text")
    for guess in (GUESSES if task is None else GUESSES_OF.get(task, ())) if first.rows else ():
        if found := guess(first):
            return found if task is None else replace(found, task=task)
    return _by_names(task or TaskName.CHAT, first)


def _by_names(task: TaskName, first: FirstRows) -> Guess:
    """Return the columns of a task that are known by their names, and leave the others to the user."""
    columns: dict[str, str] = {}
    for role in ("prompt", "completion") if task is TaskName.CHAT else TASKS[task].columns:
        free = [name for name in first.names if name not in columns.values()]
        columns[role] = _first_known(KNOWN[role], free) or TO_FILL_IN
    if TO_FILL_IN not in columns.values():
        return Guess(task, _seems(columns), columns)
    wanted = in_words([IN_WORDS[role] for role in columns])
    if first.rows:
        return Guess(task, f"it is not clear which of its columns hold {wanted} (it has: {', '.join(first.names)})", columns)
    return Guess(task, f"its columns cannot be read here; name those that hold {wanted}", columns)


def _seems(columns: Mapping[str, str]) -> str:
    (role, column), *others = columns.items()
    rest = [f"column {name} the {IN_WORDS[role]}" for role, name in others]
    return in_words([f"column {column} seems to hold {IN_WORDS[role]}", *rest])


def _conversations(first: FirstRows) -> Guess | None:
    if not (found := first.conversations()):
        return None
    column = _first_known(CONVERSATIONS, found) or found[0]
    return Guess(TaskName.CHAT, f"column {column} holds conversations", {"messages": column})


def _questions(first: FirstRows) -> Guess | None:
    if holds_nested_questions(first.rows):
        return Guess(TaskName.QUESTION_ANSWERING, "it holds questions about texts in the form of SQuAD")
    question, context, answers = (_first_known(known, first.names) for known in (QUESTIONS, CONTEXTS, ANSWERS))
    if not (question and context and answers) or not {question, context} <= set(first.texts()):
        return None
    if any(answer_texts(row.get(answers)) is None for row in first.rows):
        return None
    reason = f"column {question} seems to hold questions about the texts of column {context}"
    return Guess(TaskName.QUESTION_ANSWERING, reason, {"question": question, "context": context, "answers": answers})


def _transcripts(first: FirstRows) -> Guess | None:
    hypothesis, reference = (_first_known([role], first.texts()) for role in ("hypothesis", "reference"))
    if not (hypothesis and reference):
        return None
    reason = f"column {hypothesis} seems to hold what was recognized and column {reference} what was said"
    return Guess(TaskName.TRANSCRIPT_CORRECTION, reason, {"hypothesis": hypothesis, "reference": reference})


def _texts_by_language(first: FirstRows) -> Guess | None:
    """Take the first two languages that all rows have a text in."""
    rows = [row[BY_LANGUAGE] for row in first.rows if BY_LANGUAGE in row]
    if not rows or not all(isinstance(texts, dict) for texts in rows):
        return None
    shared = [name for name in rows[0] if all(name in texts for texts in rows) and re.fullmatch(LANGUAGE, name)]
    if len(shared) < 2:
        return None
    reason = f"column {BY_LANGUAGE} holds texts in {in_words(shared)}"
    return Guess(TaskName.TRANSLATION, reason, languages=(shared[0], shared[1]))


def _translations(first: FirstRows) -> Guess | None:
    """Take columns that are called as languages, else a source and a target."""
    spoken = [(name, code) for name in _own_texts(first) if (code := language_of(name))]
    if len(spoken) > 1:
        (source, source_language), (target, target_language) = spoken[:2]
        reason = f"columns {source} and {target} are named after languages"
        return Guess(TaskName.TRANSLATION, reason, {"source": source, "target": target}, (source_language, target_language))
    known = [_first_known(names, first.texts()) for names in (SOURCES, TARGETS)]
    if not (known[0] and known[1]):
        return None
    reason = (
        f"column {known[0]} seems to hold texts and column {known[1]} their translations;"
        " write sourceLanguage and targetLanguage beside columns to tell the model which languages"
    )
    return Guess(TaskName.TRANSLATION, reason, {"source": known[0], "target": known[1]})


def _named_pair(first: FirstRows) -> Guess | None:
    return _pair(_first_known(PROMPT_NAMES, first.names), _first_known(COMPLETION_NAMES, first.names))


def _likely_pair(first: FirstRows) -> Guess | None:
    """Take a prompt and an answer by names that may mean something else, or two columns of words."""
    prompt = _first_known(PROMPTS, first.names)
    completion = _first_known(COMPLETIONS, [name for name in first.names if name != prompt])
    own = _own_texts(first)
    if not (prompt and completion) and len(own) == 2:
        prompt = prompt if prompt in own else next(name for name in own if name != completion)
        completion = next(name for name in own if name != prompt)
    return _pair(prompt, completion)


def _pair(prompt: str | None, completion: str | None) -> Guess | None:
    if not (prompt and completion):
        return None
    reason = f"column {prompt} seems to hold the prompts and column {completion} the answers"
    return Guess(TaskName.CHAT, reason, {"prompt": prompt, "completion": completion})


def _named_classes(first: FirstRows) -> Guess | None:
    """Take texts beside a column that is called a class and holds few."""
    for label in sorted(first.names, key=lambda name: LABEL_NAMES.index(name.lower()) if name.lower() in LABEL_NAMES else len(LABEL_NAMES)):
        rows, classes = _classes(first, label)
        own = [name for name in _own_texts(first) if name != label]
        if label.lower() not in LABEL_NAMES or not own or not 0 < classes <= max(FEW_CLASSES, LARGEST_SHARE * rows):
            continue
        text = _first_known(KNOWN["text"], own) or (own[0] if len(own) == 1 else None)
        if text is not None:
            return _classified(text, label, classes)
        reason = f"column {label} seems to hold classes, but it is not clear of which column (it has: {', '.join(first.names)})"
        return Guess(TaskName.TEXT_CLASSIFICATION, reason, {"text": TO_FILL_IN, "label": label})
    return None


def _clear_classes(first: FirstRows) -> Guess | None:
    """Take two columns of which one repeats itself, whatever they are called."""
    own = [name for name in first.names if not ABOUT_A_ROW.fullmatch(name)]
    counts = {name: classes for name in own for rows, classes in [_classes(first, name)]
              if rows >= CLEAR_ROWS and 1 < classes <= CLEAR_SHARE * rows and name.lower() not in NO_CLASS}  # fmt: skip
    texts = [name for name in first.texts() if name in own and name not in counts]
    return _classified(texts[0], *counts.popitem()) if len(own) == 2 and len(counts) == len(texts) == 1 else None


def _classified(text: str, label: str, classes: int) -> Guess:
    reason = f"column {text} seems to hold texts and column {label} their classes ({classes} in its first rows)"
    return Guess(TaskName.TEXT_CLASSIFICATION, reason, {"text": text, "label": label})


def _classes(first: FirstRows, name: str) -> tuple[int, int]:
    """Return how many rows have a class in a column, and how many classes there are; zeros if it holds anything else."""
    found = [classes_of(row.get(name)) for row in first.rows]
    if None in found:
        return 0, 0
    return sum(map(bool, found)), len({one for classes in found for one in classes or ()})


def _text_alone(first: FirstRows) -> Guess | None:
    own = _own_texts(first)
    if len(own) != 1 or first.lists_of_objects():
        return None
    return Guess(TaskName.LANGUAGE_MODELING, f"{own[0]} is its only column of text", {"text": own[0]})


def _own_texts(first: FirstRows) -> list[str]:
    """Return the columns of words that are not about their row."""
    return [name for name in first.texts() if not ABOUT_A_ROW.fullmatch(name)]


def _first_known(known: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for wanted in known for name in names if name.lower() == wanted), None)


def texts_of(guess: Guess, first: FirstRows) -> list[tuple[str, tuple[str, ...]]]:
    """Return what a model reads in the first rows, each with the answers that it should write."""
    if guess.task is TaskName.QUESTION_ANSWERING:
        context, answers = (guess.columns.get(role, role) for role in ("context", "answers"))
        return [(str(row.get(context, "")), answer_texts(row.get(answers)) or ()) for row in questions_in(first.rows)]
    if guess.task is TaskName.TRANSLATION and guess.languages and not guess.columns:
        texts = [row[BY_LANGUAGE] for row in first.rows if BY_LANGUAGE in row]
        return [(str(by[guess.languages[0]]), (str(by[guess.languages[1]]),)) for by in texts]
    read, *_, written = guess.columns.values() if len(guess.columns) > 1 else (*guess.columns.values(), "", "")
    return [(str(row.get(read, "")), (str(row[written]),) if written in row else ()) for row in first.rows]


Guessing = Callable[[FirstRows], Guess | None]
GUESSES: tuple[Guessing, ...] = (
    _conversations, _questions, _named_pair, _transcripts, _texts_by_language, _clear_classes, _translations, _named_classes, _likely_pair,
    _text_alone,
)  # fmt: skip
"""The first that fits is taken: the more that names say, the earlier."""
GUESSES_OF: Mapping[TaskName, tuple[Guessing, ...]] = {
    TaskName.CHAT: (_conversations, _named_pair, _likely_pair),
    TaskName.TEXT_GENERATION: (_named_pair, _likely_pair),
    TaskName.LANGUAGE_MODELING: (_text_alone,),
    TaskName.TRANSLATION: (_texts_by_language, _translations),
    TaskName.TRANSCRIPT_CORRECTION: (_transcripts,),
    TaskName.QUESTION_ANSWERING: (_questions,),
    TaskName.TEXT_CLASSIFICATION: (_named_classes, _clear_classes),
}
