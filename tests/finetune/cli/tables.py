"""Tables whose task is guessed, for test_guess.py and test_guess_classes.py."""

import json
from pathlib import Path
from typing import Any

from finetune.api.tasks import TaskName
from finetune.cli.datafile import look_at
from finetune.cli.guess import Guess, guess_from


def guessed(folder: Path, content: str | list[dict[str, Any]] | dict[str, Any], task: TaskName | None = None) -> Guess:
    """Return what is guessed of a table, or of rows as JSON."""
    path = folder / ("a.csv" if isinstance(content, str) else "a.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return guess_from(look_at(path), task)


def repeated(header: str, *lines: str, times: int = 20) -> str:
    """Return a table whose lines are repeated with the number of the repetition in place of #."""
    return "\n".join([header, *(line.replace("#", str(number)) for number in range(times) for line in lines)])
