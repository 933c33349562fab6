"""`finetune predict`: answers one prompt, or the rows of a file, with the tuned model and if asked with its base.

Each kind of request has its predictor, in trainer/evaluation/predictors.py; nothing here knows which kinds there are.
Test: tests/trainer/using/test_predict.py.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.using import PREDICTED_TOKENS, Predict
from trainer.data.reading import Languages
from trainer.evaluation.predictors import WINDOW_TOKENS, Limits
from trainer.evaluation.predictors import predict as answers_to
from trainer.tasks.base import Request
from trainer.text.batches import in_batches
from trainer.using.asking import PROMPT, Asked, ask_rows, ask_text, languages_for
from trainer.using.found import Found
from trainer.using.loading import Loaded, Side, new_tokens

Say = Callable[[str], None]
NO_LANGUAGES = "nothing says between which languages this model translates; give --from and --to if its prompts name them"
BATCHES_AT_ONCE = 4
"""Rows of so many batches are sorted by length together: less padding, and the first lines are still written soon."""
SECONDS_BETWEEN = 10.0
"""Between two lines that say how many rows are answered."""


def predict(wanted: Predict, loaded: Loaded, found: Found, say: Say) -> None:
    """Write the answers; raises InputError for a prompt or row that cannot be read. What is written when it is stopped stays."""
    wanted = wanted.changed(max_new_tokens=new_tokens(loaded.tuned.engine.model, wanted.max_new_tokens, PREDICTED_TOKENS))
    if wanted.prompt is not None:
        _answer_prompt(wanted, wanted.prompt, loaded, found, say)
    elif wanted.input is not None:
        _answer_rows(wanted, wanted.input, loaded, found, say)


def _answer_prompt(wanted: Predict, prompt: str, loaded: Loaded, found: Found, say: Say) -> None:
    languages = _languages(wanted, loaded, found, say)
    asked = ask_text(loaded.task, loaded.tokenizer, prompt, wanted.beside, languages)
    if asked.request is None:
        raise InputError(PROMPT, asked.left_out, "give a text")
    [line] = _lines([asked], loaded, wanted, found)
    if wanted.output is not None:
        wanted.output.write_text(_json(line) + "\n", encoding="utf-8")
        return
    if loaded.base is None:
        print(_shown(line["answer"]), flush=True)
        return
    print(f"base:  {_shown(line['base'])}\ntuned: {_shown(line['answer'])}", flush=True)


def _languages(wanted: Predict, loaded: Loaded, found: Found, say: Say) -> Languages | None:
    """Return the languages to translate from and into; `say` is told where none are known."""
    languages = languages_for(loaded.task, wanted.languages, found.languages)
    if languages is None and found.languages is None and loaded.task.facts.translates:
        say(NO_LANGUAGES)
    return languages


def _answer_rows(wanted: Predict, path: Path, loaded: Loaded, found: Found, say: Say) -> None:
    candidates = [wanted.columns] if wanted.columns is not None else [*([found.columns] if found.columns else []), Columns()]
    languages = _languages(wanted, loaded, found, say)
    asked = ask_rows(loaded.task, loaded.tokenizer, path, candidates, languages)
    said_at, count = time.monotonic(), 0
    with _opened(wanted.output) as stream:
        for line in answered(asked, loaded, wanted, found):
            stream.write(_json(line) + "\n")
            stream.flush()
            count += 1
            if wanted.output is not None and time.monotonic() - said_at >= SECONDS_BETWEEN:
                said_at = time.monotonic()
                say(f"{count} rows")
    if wanted.output is not None:
        say(f"wrote {count} rows to {wanted.output}")


def answered(asked: Iterable[Asked], loaded: Loaded, wanted: Predict, found: Found) -> Iterator[dict[str, Any]]:
    """Yield a line for each row, in order: its input, the answer, and with `base` the base model's answer."""
    for some in in_batches(asked, lambda _: 1, wanted.batch_size * BATCHES_AT_ONCE):
        yield from _lines(some, loaded, wanted, found)


def _lines(asked: Sequence[Asked], loaded: Loaded, wanted: Predict, found: Found) -> list[dict[str, Any]]:
    requests = [row.request for row in asked if row.request is not None]
    limits = _limits(wanted, found)
    answers = {side.name: iter(_answers(side, requests, loaded.tokenizer, limits)) for side in loaded.sides}
    lines: list[dict[str, Any]] = []
    for row in asked:
        if row.request is None:
            lines.append({"input": None, "answer": None, "leftOut": row.left_out})
            continue
        given = {name: next(side_answers) for name, side_answers in answers.items()}
        tuned = given["tuned"]
        base = {"base": given["base"].to_wire()} if "base" in given else {}
        lines.append({"input": row.request.shown, "answer": tuned.to_wire(), **base, **({"cut": True} if tuned.cut else {})})
    return lines


def _limits(wanted: Predict, found: Found) -> Limits:
    """Return the limits of predictions; texts are cut into windows as long as the rows that the model learned, if that is recorded."""
    window = found.max_length or WINDOW_TOKENS
    return Limits(sys.maxsize, wanted.max_new_tokens or PREDICTED_TOKENS, None, wanted.batch_size, wanted.decoding, window)


def _answers(side: Side, requests: Sequence[Request], tokenizer: Any, limits: Limits) -> list[Any]:
    if not requests:
        return []
    with side.within():
        return list(answers_to(side.engine, tokenizer, requests, limits))


def _opened(output: Path | None) -> Any:
    stream: Any = nullcontext(sys.stdout) if output is None else output.open("x", encoding="utf-8")
    return stream


def _shown(answer: Any) -> str:
    return answer if isinstance(answer, str) else _json(answer)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
