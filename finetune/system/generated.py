"""Text files of the repository that are generated from the code: printed, written, or compared with their committed copies.

Tests: tests/finetune/system/test_generated.py.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from finetune.system.interpreter import ROOT


def run_generator(
    module: str, description: str, copies: Callable[[Path], Mapping[Path, str]], printed: Callable[[], str], arguments: Sequence[str] | None
) -> int:
    """Be the program `python -m MODULE [--write | --check]` and return its exit code.

    `copies` takes the root of the repository and gives the text of every committed copy by its path below it; `printed` gives what is
    printed without an option.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="write every committed copy")
    action.add_argument("--check", action="store_true", help="fail when a committed copy differs from the code")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository")
    options = parser.parse_args(arguments)
    if options.write:
        for path, text in copies(options.root).items():
            (options.root / path).parent.mkdir(parents=True, exist_ok=True)
            (options.root / path).write_text(text, encoding="utf-8")
    elif options.check:
        stale = drifted(copies(options.root), options.root)
        for path in stale:
            sys.stderr.write(f"{path}: differs from the code; run `python -m {module} --write`\n")
        return 1 if stale else 0
    else:
        sys.stdout.write(printed())
    return 0


def drifted(copies: Mapping[Path, str], root: Path = ROOT) -> list[Path]:
    """Return the copies under `root` that are missing or differ."""
    return [path for path, text in copies.items() if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text]
