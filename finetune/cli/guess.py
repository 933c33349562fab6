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
from finetune.cli.columnkinds import (
    class_columns,
    clear_classes,
    filled,
    first_known,
    is_called_class,
    is_surely_class,
    is_title,
    own_texts,
    repeating,
    text_beside,
    unrepeated_texts,
)
from finetune.cli.datafile import FirstRows
from finetune.cli.rowshapes import answer_texts, holds_nested_questions, language_of, questions_in

CONVERSATIONS = ("messages", "conversations", "conversation")
PROMPTS = (*PROMPT_NAMES, "user", "message", "text", "sentence", "problem", "source", "document", "article", "dialogue", "title")
ANSWERED = (*COMPLETION_NAMES, "assistant", "solution", "reply", "summary")
COMPLETIONS = (*ANSWERED, "label", "intent", "category", "class", "target")
"""Names of columns by which a pair is known, the likelier ones first. Those of ANSWERED are answers even beside a class."""
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
TO_FILL_IN = "NAME_OF_THE_COLUMN"
LANGUAGES_TO_WRITE = "write sourceLanguage and targetLanguage beside columns to tell the model which languages"


@dataclass(frozen=True)
class Guess:
    """What the rows seem to be for. `reason` is for the user."""

    task: TaskName
    reason: str
    columns: dict[str, str] = field(default_factory=dict)
    """By role; none where the trainer finds them itself."""
    languages: tuple[str, str] | None = None
    """Codes of the languages of texts and translations."""
    by_repetition: bool = False
    """Whether nothing but a column that repeats itself speaks for it, so that another task is as likely meant."""

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
    return _by_names(TaskName.CHAT if task is None else task, first, given=task is not None)


def _by_names(task: TaskName, first: FirstRows, *, given: bool) -> Guess:
    """Return the columns of a task by their names, if it is `given` also the only ones that fit, and leave the others to the user."""
    columns: dict[str, str] = {}
    for role in ("prompt", "completion") if task is TaskName.CHAT else TASKS[task].columns:
        written = filled(first) if given else unrepeated_texts(first)
        fit = {"completion": written, "label": first.names, "answers": first.names}.get(role, filled(first))
        columns[role] = first_known(KNOWN[role], [name for name in fit if name not in columns.values()]) or TO_FILL_IN
    if given:
        columns = _with_only_ones(columns, first)
    if TO_FILL_IN not in columns.values():
        reason = _seems(columns)
        return Guess(task, f"{reason}; {LANGUAGES_TO_WRITE}" if task is TaskName.TRANSLATION else reason, columns)
    wanted = in_words([IN_WORDS[role] for role in columns])
    if not first.rows:
        return Guess(task, f"its columns cannot be read here; name those that hold {wanted}", columns)
    inner = [name for name in first.names if first.inside(name).conversations()]
    if inner:
        return Guess(task, f"column {inner[0]} holds conversations inside an object; write messages at the top of each row", columns)
    reason = f"it is not clear which of its columns hold {wanted} (it has: {', '.join(first.names)})"
    return Guess(task, reason + (_why_no_answer(first, columns) if columns.get("completion") == TO_FILL_IN else ""), columns)


def _why_no_answer(first: FirstRows, columns: Mapping[str, str]) -> str:
    """Say why a column that is called an answer is not taken for one; nothing where there is none."""
    called, repeated = first_known(ANSWERED, [name for name in first.names if name not in columns.values()]), repeating(first)
    if called and called not in filled(first) and any(isinstance(row.get(called), int | float) for row in first.rows):
        return f"; column {called} holds numbers, true or false: write them as texts, if they are the answers"
    if called and called in repeated:
        return f"; column {called} repeats itself ({repeated[called]} values in its first rows), so it may be a class"
    return ""


def _with_only_ones(columns: Mapping[str, str], first: FirstRows) -> dict[str, str]:
    """Give the roles of one or two columns that are left the only ones that fit: classes what repeats itself, texts the others in order."""
    found = dict(columns)
    classes = [name for name in clear_classes(first) if name not in found.values()] if "label" in found else []
    if found.get("label") == TO_FILL_IN and len(classes) == 1:
        found["label"] = classes[0]
    left = [role for role, name in found.items() if name == TO_FILL_IN and role != "label"]
    texts = [name for name in own_texts(first) if name not in (*found.values(), *classes)]
    return {**found, **dict(zip(left, texts, strict=True))} if len(found) <= 2 and len(left) == len(texts) else found


def _seems(columns: Mapping[str, str]) -> str:
    (role, column), *others = columns.items()
    rest = [f"column {name} the {IN_WORDS[role]}" for role, name in others]
    return in_words([f"column {column} seems to hold {IN_WORDS[role]}", *rest])


def _conversations(first: FirstRows) -> Guess | None:
    if not (found := first.conversations()):
        return None
    column = first_known(CONVERSATIONS, found) or found[0]
    return Guess(TaskName.CHAT, f"column {column} holds conversations", {"messages": column})


def _questions(first: FirstRows) -> Guess | None:
    if holds_nested_questions(first.rows):
        return Guess(TaskName.QUESTION_ANSWERING, "it holds questions about texts in the form of SQuAD")
    question, context, answers = (first_known(known, first.names) for known in (QUESTIONS, CONTEXTS, ANSWERS))
    if not (question and context and answers) or not {question, context} <= set(first.texts()):
        return None
    if any(answer_texts(row.get(answers)) is None for row in first.rows):
        return None
    reason = f"column {question} seems to hold questions about the texts of column {context}"
    return Guess(TaskName.QUESTION_ANSWERING, reason, {"question": question, "context": context, "answers": answers})


def _transcripts(first: FirstRows) -> Guess | None:
    hypothesis, reference = (first_known([role], first.texts()) for role in ("hypothesis", "reference"))
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
    spoken = [(name, code) for name in own_texts(first) if (code := language_of(name))]
    if len(spoken) > 1:
        (source, source_language), (target, target_language) = spoken[:2]
        reason = f"columns {source} and {target} are named after languages"
        return Guess(TaskName.TRANSLATION, reason, {"source": source, "target": target}, (source_language, target_language))
    known = first_known(SOURCES, first.texts()), first_known(TARGETS, unrepeated_texts(first))
    if not (known[0] and known[1]):
        return None
    reason = f"column {known[0]} seems to hold texts and column {known[1]} their translations; {LANGUAGES_TO_WRITE}"
    return Guess(TaskName.TRANSLATION, reason, {"source": known[0], "target": known[1]})


def _named_pair(first: FirstRows) -> Guess | None:
    return _pair(first, first_known(PROMPT_NAMES, filled(first)), first_known(COMPLETION_NAMES, filled(first)))


def _answered_pair(first: FirstRows) -> Guess | None:
    """Take a text with an answer: a class beside them is about both."""
    prompt, completion = first_known(PROMPTS, own_texts(first)), first_known(ANSWERED, unrepeated_texts(first))
    return None if is_title(prompt or "") and completion == "summary" else _pair(first, prompt, completion)


def _likely_pair(first: FirstRows) -> Guess | None:
    """Take a prompt and an answer by names that may mean something else, or two columns of words. An answer is no class."""
    own, said = own_texts(first), unrepeated_texts(first)
    prompt = first_known(PROMPTS, filled(first))
    completion = first_known(COMPLETIONS, [name for name in said if name != prompt])
    answers = [name for name in first.names if name.lower() in ANSWERED and any(row.get(name) not in (None, "") for row in first.rows)]
    if not (prompt and completion) and len(own) == 2 and set(answers) <= set(said):
        prompt = prompt if prompt in own else next(name for name in own if name != completion)
        completion = next(name for name in own if name != prompt)
    return _pair(first, prompt, completion) if completion in said else None


def _pair(first: FirstRows, prompt: str | None, completion: str | None) -> Guess | None:
    if not (prompt and completion):
        return None
    reason = f"column {prompt} seems to hold the prompts and column {completion} the answers"
    added = next((name for name in ("input", "context") if name in filled(first) and name != completion), None)
    if prompt == "instruction" and added:
        reason += f"; column {added} is read after the prompt"
    return Guess(TaskName.CHAT, reason, {"prompt": prompt, "completion": completion})


def _named_classes(first: FirstRows) -> Guess | None:
    """Take texts beside a column that is called a class and holds few."""
    for label, classes in class_columns(first).items():
        if text := text_beside(first, label):
            return _classified(text, label, classes)
        if any(name != label for name in own_texts(first)):
            reason = f"column {label} seems to hold classes, but it is not clear of which column (it has: {', '.join(first.names)})"
            return Guess(TaskName.TEXT_CLASSIFICATION, reason, {"text": TO_FILL_IN, "label": label})
    return None


def _clear_classes(first: FirstRows) -> Guess | None:
    """Take the only column that repeats itself, beside the only one of other texts, whatever they are called."""
    classes, said = clear_classes(first), unrepeated_texts(first)
    texts = [name for name in own_texts(first) if name in said]
    return _classified(texts[0], *classes.popitem()) if len(classes) == len(texts) == 1 else None


def _classified(text: str, label: str, classes: int) -> Guess:
    few = ": give at least two, unless the file is only sorted by class" if classes == 1 else ""
    reason = f"column {text} seems to hold texts and column {label} their classes ({classes} in its first rows{few})"
    return Guess(TaskName.TEXT_CLASSIFICATION, reason, {"text": text, "label": label}, by_repetition=not is_surely_class(label))


def _text_alone(first: FirstRows) -> Guess | None:
    own = own_texts(first)
    others = [name for name in first.names if name not in own and (is_called_class(name) or name.lower() in COMPLETIONS)]
    if len(own) != 1 or first.lists_of_objects() or any(row.get(name) not in (None, "") for name in others for row in first.rows):
        return None
    return Guess(TaskName.LANGUAGE_MODELING, f"{own[0]} is its only column of text", {"text": own[0]})


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
    _conversations, _questions, _named_pair, _transcripts, _texts_by_language, _clear_classes, _translations, _answered_pair,
    _named_classes, _likely_pair, _text_alone,
)  # fmt: skip
"""The first that fits is taken: the more that names say, the earlier."""
GUESSES_OF: Mapping[TaskName, tuple[Guessing, ...]] = {
    TaskName.CHAT: (_conversations, _named_pair, _answered_pair, _likely_pair),
    TaskName.TEXT_GENERATION: (_named_pair, _answered_pair, _likely_pair),
    TaskName.LANGUAGE_MODELING: (_text_alone,),
    TaskName.TRANSLATION: (_texts_by_language, _translations),
    TaskName.TRANSCRIPT_CORRECTION: (_transcripts,),
    TaskName.QUESTION_ANSWERING: (_questions,),
    TaskName.TEXT_CLASSIFICATION: (_named_classes, _clear_classes),
}
