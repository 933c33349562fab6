"""`finetune init DATA`: writes a first job for a local file, with the task and columns that its first rows suggest.

What was guessed is printed and is a comment in the file. Tests: tests/finetune/cli/test_init.py, test_init_checked.py.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune.api.earlierjobs import NAME_MAX_LENGTH
from finetune.api.errors import BadInputError, InputError
from finetune.api.record import EXIT_SUCCESS
from finetune.api.spec import API_VERSION, KIND
from finetune.api.tasks import TASKS, TaskName, in_words
from finetune.cli.datafile import SAMPLE_LINES, FirstRows, look_at
from finetune.cli.guess import TO_FILL_IN, Guess, guess_from, texts_of

PLAIN = re.compile(r"(\.\./)*[A-Za-z_][\w./-]*")
YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
JOB = """\
# Written by `finetune init` for {path}. `finetune explain FIELD` describes every field.
apiVersion: {api_version}
kind: {kind}
metadata: {{name: {name}}}
spec:
  task: {task}  # {task_comment}
  model: {{name: {model}}}  # {kind_of_model} of the Hugging Face hub; a local folder is {{path: FOLDER}}{model_comment}
  data: {{train: [{{path: {path}{source}}}],  # {source_comment}
         validationFraction: 0.1, testFraction: 0.1}}  # rows held out to choose the best weights, and to measure both models
  method: {method}
  training: {{{training}}}
{evaluation}  output: {{export: {export}}}  # on a cluster also persistentVolumeClaim: {{claimName: NAME}}
"""
EVALUATION = """\
  evaluation: {{generation: {{maxNewTokens: {tokens}, samples: 50}}}}  # test rows that are answered, for the text metrics
"""
ANSWER_TOKENS = (16, 32, 64, 128, 256, 512)
READ_TOKENS = (128, 256, 512)
"""What an encoder reads of a text, at most: the small one knows 512 places."""
BYTES_PER_TOKEN = 3
"""Of UTF-8: a little less than English has, and a whole character of Chinese, so that texts are rather not cut."""


@dataclass(frozen=True)
class Recipe:
    """How a kind of model learns, where the job's rows say nothing else."""

    model: str
    """A small one that the set-up installs, so that no hub is needed."""
    kind: str
    method: str
    export: str


WRITER = Recipe(
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "a causal language model",
    "{lora: {rank: 16, alpha: 32}}  # or {full: {}} to train every weight",
    "[adapter, merged]",
)
ENCODER = Recipe(
    "sentence-transformers/all-MiniLM-L6-v2",
    "an encoder",
    "{full: {}}  # every weight is trained; a larger model needs a lower learningRate, such as 3.0e-5",
    "[merged]",
)
LARGER_MODELS = "an encoder of usual size: {full: {}} and 3.0e-5; a language model: {lora: {rank: 16, alpha: 32}} and 2.0e-4"
"""What usually suits a model that is not one of these two: their own rates are for small ones."""
OF_WRITERS = "epochs: 3, globalBatchSize: 8, learningRate: 1.0e-3, maxSequenceLength: 512"
OF_FEW = "epochs: 10, globalBatchSize: 8, microBatchSize: 8, learningRate: {rate}, maxSequenceLength: {length}"
OF_MANY = (
    "epochs: {epochs}, globalBatchSize: 16, microBatchSize: 16, groupByLength: true, learningRate: {rate}, maxSequenceLength: {length}"
)
"""A new head needs a hundred steps or so. Rows that are fewer than were looked at are seen more often, in smaller batches."""


def init(data: Path, output: Path, model: str | None, task: TaskName | None = None) -> int:
    """Write a job for `data` to `output`; BadInputError where it cannot be read, or `output` exists."""
    first = look_at(data)
    guess = guess_from(first, task)
    text = job_text(data, output, model, guess, first)
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInputError([InputError(str(output), "exists already", "give another file with --output, or remove it")]) from None
    except (FileNotFoundError, NotADirectoryError):
        raise BadInputError([InputError("--output", f"there is no folder {output.parent}", "make it, or give another file")]) from None
    print(f"{output}: a job of task {guess.task} for {data}; {guess.reason}")
    if guess.open:
        print(f"Replace {TO_FILL_IN} in it by the name of a column.")
    if (guess.open or guess.by_repetition) and task is None:
        other = TaskName.CHAT if guess.task is TaskName.TEXT_CLASSIFICATION else TaskName.TEXT_CLASSIFICATION
        rest = in_words(_others(guess.task, other), "or")
        start = "Or remove" if guess.open else "If that is not meant, remove"
        print(f"{start} {output}, and say what to learn: run finetune init again with --task {other} (or {rest}).")
    recipe = _recipe(guess, first)
    if model not in (None, recipe.model):
        print(f"Check method and learningRate in it: they are those for {recipe.model}, not for {model} ({LARGER_MODELS}).")
    print(f"Next: {shlex.join(['finetune', 'check', str(output)])}")
    return EXIT_SUCCESS


def job_text(data: Path, output: Path, model: str | None, guess: Guess, first: FirstRows) -> str:
    """Return the job as YAML; paths in it are relative to its folder, as `finetune run` reads them."""
    place = os.path.relpath(data.parent.resolve() / data.name, output.parent.resolve())  # a link's `..` is not the folder it lies in
    texts = texts_of(guess, first)
    recipe = _recipe(guess, first)
    its_own = model in (None, recipe.model)
    tokens = _tokens((answer for _, answers in texts for answer in answers), ANSWER_TOKENS) if recipe is WRITER else None
    return JOB.format(
        path=_quoted(place),
        api_version=API_VERSION,
        kind=KIND,
        name=_job_name(data),
        task=guess.task,
        task_comment=f"{TASKS[guess.task].description}; for another task, remove this file and run finetune init again"
        f" with --task ({in_words(_others(guess.task), 'or')})",
        model=_quoted(model or recipe.model),
        kind_of_model=recipe.kind if its_own else "a model",
        model_comment="" if its_own else f"; check method and learningRate, which are those for {recipe.model} ({LARGER_MODELS})",
        source=_source(guess),
        source_comment=_printable(f"{'fill in' if guess.open else 'guessed'}: {guess.reason}"),
        method=recipe.method,
        training=OF_WRITERS if recipe is WRITER else _encoder_training(guess, texts),
        evaluation=EVALUATION.format(tokens=tokens) if tokens else "",
        export=recipe.export,
    )


def _recipe(guess: Guess, first: FirstRows) -> Recipe:
    return ENCODER if _is_found(guess, texts_of(guess, first)) else WRITER


def _others(*names: TaskName) -> list[str]:
    return [name for name in TASKS if name not in names]


def _is_found(guess: Guess, texts: list[tuple[str, tuple[str, ...]]]) -> bool:
    """Return whether what is learned is a class or a part of the text, so that a model need not write."""
    if guess.task is TaskName.QUESTION_ANSWERING:
        return all(answer in text for text, answers in texts for answer in answers)
    return guess.task is TaskName.TEXT_CLASSIFICATION


def _encoder_training(guess: Guess, texts: list[tuple[str, tuple[str, ...]]]) -> str:
    """Return the settings for an encoder: longer texts than it knows are cut, or read in windows where an answer is looked for."""
    many = len(texts) >= SAMPLE_LINES - 1  # a table's first line is its header
    if guess.task is TaskName.QUESTION_ANSWERING:
        return (OF_MANY if many else OF_FEW).format(epochs=3, rate="1.0e-4", length=256)
    length = _tokens((text for text, _ in texts), READ_TOKENS) or READ_TOKENS[-1]
    return (OF_MANY if many else OF_FEW).format(epochs=5, rate="2.0e-4", length=length)


def _tokens(texts: Iterable[str], sizes: tuple[int, ...]) -> int | None:
    """Return which of some numbers of tokens the longest of the texts needs; None without a text."""
    size = max((len(text.encode(errors="replace")) for text in texts), default=0)
    return next((tokens for tokens in sizes if tokens * BYTES_PER_TOKEN >= size), sizes[-1]) if size else None


def _source(guess: Guess) -> str:
    """Return what the source of the rows has beside its path."""
    columns = ", ".join(f"{role}: {_quoted(column)}" for role, column in guess.columns.items())
    languages = zip(("sourceLanguage", "targetLanguage"), guess.languages or (), strict=False)
    found = [f"columns: {{{columns}}}"] if columns else []
    return "".join(f", {member}" for member in [*found, *(f"{name}: {_quoted(code)}" for name, code in languages)])


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
