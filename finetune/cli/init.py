"""`finetune init DATA`: writes a first job for a local file, with the task and columns that its first rows suggest.

What was guessed is printed and is a comment in the file. Tests: tests/finetune/cli/test_init.py.
"""

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetune.api.errors import BadInputError, InputError
from finetune.api.record import EXIT_SUCCESS
from finetune.api.sources import COMPLETION_NAMES, PROMPT_NAMES, DataFormat
from finetune.api.spec import API_VERSION, KIND, NAME_MAX_LENGTH
from finetune.api.tasks import TASKS, TaskName, in_words
from finetune.cli.datafile import FirstRows, look_at

CONVERSATIONS = ("messages", "conversations", "conversation")
PROMPTS = (*PROMPT_NAMES, "user", "message", "text", "sentence", "problem", "source", "document", "title")
COMPLETIONS = (*COMPLETION_NAMES, "assistant", "label", "intent", "category", "class", "target", "solution", "reply", "summary")
"""Names of columns by which a pair is known, the likelier ones first."""
ABOUT_A_ROW = re.compile(r"(.*[_\W])?(id|uuid|index|hash|url|link|date|time|timestamp|lang|language|split|file|filename|licen[sc]e)", re.I)
TO_FILL_IN = "NAME_OF_THE_COLUMN"
PLAIN = re.compile(r"(\.\./)*[A-Za-z_][\w./-]*")
YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
JOB = """\
# Written by `finetune init` for {path}. `finetune explain FIELD` describes every field.
apiVersion: {api_version}
kind: {kind}
metadata: {{name: {name}}}
spec:
  task: {task}  # {task_comment}
  model: {{name: {model}}}  # a causal language model of the Hugging Face hub; a local folder is {{path: FOLDER}}
  data: {{train: [{{path: {path}{columns}}}],  # {columns_comment}
         validationFraction: 0.1, testFraction: 0.1}}  # rows held out to choose the best weights, and to measure both models
  method: {{lora: {{rank: 16, alpha: 32}}}}  # or {{full: {{}}}} to train every weight
  training: {{epochs: 3, globalBatchSize: 8, learningRate: 1.0e-3, maxSequenceLength: 512}}
{evaluation}  output: {{export: [adapter, merged]}}  # on a cluster also persistentVolumeClaim: {{claimName: NAME}}
"""
EVALUATION = """\
  evaluation: {{generation: {{maxNewTokens: {tokens}, samples: 50}}}}  # test rows that are answered, for the text metrics
"""
ANSWER_TOKENS = (16, 32, 64, 128, 256, 512)
BYTES_PER_TOKEN = 3
"""Of UTF-8: a little less than English has, and a whole character of Chinese, so that answers are rather not cut."""


@dataclass(frozen=True)
class Guess:
    """What the rows seem to be for. `reason` is for the user; `open` says that a name has to be filled in."""

    task: TaskName
    reason: str
    columns: dict[str, str] = field(default_factory=dict)
    open: bool = False
    answer_tokens: int | None = None
    """Tokens that the answers of the first rows need; None where that is not known."""


def init(data: Path, output: Path, model: str) -> int:
    """Write a job for `data` to `output`; BadInputError where it cannot be read, or `output` exists."""
    guess = guess_from(look_at(data))
    text = job_text(data, output, model, guess)
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInputError([InputError(str(output), "exists already", "give another file with --output, or remove it")]) from None
    print(f"{output}: a job of task {guess.task} for {data}; {guess.reason}")
    if guess.open:
        print(f"Replace {TO_FILL_IN} in it by the name of a column.")
    print(f"Next: {shlex.join(['finetune', 'check', str(output)])}")
    return EXIT_SUCCESS


def guess_from(first: FirstRows) -> Guess:
    """Return task and columns that fit the first rows of a file."""
    if first.format is DataFormat.TEXT:
        return Guess(TaskName.LANGUAGE_MODELING, "it is plain text")
    if not first.rows:
        reason = "its columns cannot be read here; name those that hold prompts and answers"
        return Guess(TaskName.CHAT, reason, {"prompt": TO_FILL_IN, "completion": TO_FILL_IN}, open=True)
    conversations = first.conversations()
    if conversations:
        column = _first_known(CONVERSATIONS, conversations) or conversations[0]
        return Guess(TaskName.CHAT, f"column {column} holds conversations", {"messages": column})
    guess = _guess_from_texts(first.names, first.texts(), nested=bool(first.lists_of_objects()))
    return replace(guess, answer_tokens=_answer_tokens(first, guess.columns.get("completion")))


def _guess_from_texts(names: Sequence[str], texts: Sequence[str], *, nested: bool) -> Guess:
    prompt = _first_known(PROMPTS, names)
    completion = _first_known(COMPLETIONS, [name for name in names if name != prompt])
    own = [name for name in texts if not ABOUT_A_ROW.fullmatch(name)]
    if not (prompt and completion) and len(own) == 2:
        prompt = prompt if prompt in own else next(name for name in own if name != completion)
        completion = next(name for name in own if name != prompt)
    if prompt and completion:
        reason = f"column {prompt} seems to hold the prompts and column {completion} the answers"
        return Guess(TaskName.CHAT, reason, {"prompt": prompt, "completion": completion})
    if len(own) == 1 and not nested:
        return Guess(TaskName.LANGUAGE_MODELING, f"{own[0]} is its only column of text", {"text": own[0]})
    reason = f"it is not clear which of its columns hold prompts and answers (it has: {', '.join(names)})"
    return Guess(TaskName.CHAT, reason, {"prompt": prompt or TO_FILL_IN, "completion": completion or TO_FILL_IN}, open=True)


def _answer_tokens(first: FirstRows, column: str | None) -> int | None:
    """Return how many tokens the longest of the first answers needs, so that generating them takes no longer than it must."""
    size = max((len(str(row[column]).encode(errors="replace")) for row in first.rows if column in row), default=0)
    return next((tokens for tokens in ANSWER_TOKENS if tokens * BYTES_PER_TOKEN >= size), ANSWER_TOKENS[-1]) if size else None


def job_text(data: Path, output: Path, model: str, guess: Guess) -> str:
    """Return the job as YAML; paths in it are relative to its folder, as `finetune run` reads them."""
    place = os.path.relpath(data.parent.resolve() / data.name, output.parent.resolve())  # a link's `..` is not the folder it lies in
    columns = ", ".join(f"{role}: {_quoted(column)}" for role, column in guess.columns.items())
    return JOB.format(
        path=_quoted(place),
        api_version=API_VERSION,
        kind=KIND,
        name=_job_name(data),
        task=guess.task,
        task_comment=f"{TASKS[guess.task].description} (or: {in_words([name for name in TASKS if name is not guess.task], 'or')})",
        model=_quoted(model),
        columns=f", columns: {{{columns}}}" if columns else "",
        evaluation=EVALUATION.format(tokens=guess.answer_tokens) if guess.answer_tokens else "",
        columns_comment=_printable(f"{'fill in' if guess.open else 'guessed'}: {guess.reason}"),
    )


def _first_known(known: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for wanted in known for name in names if name.lower() == wanted), None)


def _job_name(data: Path) -> str:
    """Return a DNS-1035 label made of the file's name."""
    stem = data.name.split(".")[0].lower()
    name = re.sub(r"[^a-z0-9]+", "-", stem)[:NAME_MAX_LENGTH].strip("-")
    return _quoted(name) if re.match(r"[a-z]", name) else "my-job"


def _quoted(text: str) -> str:
    """Return a text as YAML takes it inside {…}."""
    if PLAIN.fullmatch(text) and text.lower() not in YAML_WORDS:
        return text
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    """Return a text for a comment, which has to stay on its line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
