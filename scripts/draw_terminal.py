"""Draws docs/terminal.svg, the picture in the README, from what `finetune run` printed in a terminal.

    script -qc "stty cols 100; make run" capture.ansi
    .venv/bin/python scripts/draw_terminal.py capture.ansi docs/terminal.svg "make run"

Test: tests/contract/test_picture.py.
"""

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

WIDTH = 100
LEFT_OUT = re.compile(r"^(Script (started|done)|Ray dashboard)")
"""Lines of `script` itself, and one with a path of the machine that the picture was made on."""
CHECKOUT = re.compile(r"/\S*/(?=runs/)")
"""Where the checkout was on that machine."""
CURSOR = re.compile(r"\x1b\[(\?25[lh]|\d*A|2K)")
FONT_FACES = re.compile(r"@font-face \{\{.*?\}\}\n", re.DOTALL)


def lasting_lines(capture: str) -> list[str]:
    """Return the lines that stay on the screen: of a line that was drawn over, as a progress bar is, the last state."""
    drawn = [line.rstrip("\r").rsplit("\x1b[2K", 1)[-1].rsplit("\r", 1)[-1] for line in capture.split("\n")[:-1]]
    return [line for line in (CHECKOUT.sub("", CURSOR.sub("", line)) for line in drawn) if not LEFT_OUT.match(line)]


def drawing(capture: str, command: str) -> str:
    """Return the picture of a terminal in which `command` printed `capture`; it loads no fonts from elsewhere."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text(f"$ {command}", style="bold"))
    for line in lasting_lines(capture):
        console.print(Text.from_ansi(line))
    return console.export_svg(title=command, code_format=FONT_FACES.sub("", CONSOLE_SVG_FORMAT))


if __name__ == "__main__":
    source, target, typed = sys.argv[1:]
    Path(target).write_text(drawing(Path(source).read_bytes().decode(), typed), encoding="utf-8")
