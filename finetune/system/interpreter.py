"""What a Python program takes from wherever its user happens to be, and must not: modules in the current folder, and the locale.

Test: tests/finetune/system/test_interpreter.py.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages of this project."""


def lasting_python_path(environment: Mapping[str, str]) -> list[str]:
    """Return the entries of PYTHONPATH that mean the same everywhere: an empty or relative one means the current folder."""
    return [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]


def forget_current_folder() -> None:
    """Import nothing more from the current folder: a `random.py` there is not the one that is meant.

    `python -m` and relative entries of PYTHONPATH put that folder before the standard library.
    """
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        here = "/"
    relative = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if not os.path.isabs(entry)]
    unwanted = {os.path.normpath(os.path.join(here, entry)) for entry in ("", *relative)} - {str(ROOT), *lasting_python_path(os.environ)}
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry) and os.path.abspath(entry) not in unwanted]


def use_utf8() -> None:
    """Start this program again in Python's UTF-8 mode where the locale's encoding is another; to be called first of all.

    Libraries open files without naming an encoding, and file names with other characters have to mean the same here and in
    the programs that are started. What is printed keeps the terminal's encoding.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding().lower() in ("utf-8", "utf8"):
        return
    os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding if sys.stdout is not None else "ascii")
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (this very program)


def print_in_any_locale() -> None:
    """Make sure that print never fails: a character that the terminal's encoding lacks is written as its number.

    A stream that was closed before the program began, as by `>&-`, becomes the null device.
    """
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def finish_printing() -> None:
    """Write out what was printed; where nobody is left to read it, Python's own attempt at exit must not change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def encoding_of(stream: TextIO) -> str:
    """Return the encoding that a stream writes in."""
    return getattr(stream, "encoding", None) or "utf-8"
