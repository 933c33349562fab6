"""Says what is wrong with a text that is not YAML: where, what is there, and what to do about it.

The parser knows a few dozen errors, most of them in its own terms ("mapping values are not allowed in this context"); the few
that people make have messages of their own here, the others keep the parser's. Pure. Tests: tests/finetune/cli/jobfile/test_yamlwords.py.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import yaml

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
QUOTE = "put quotes around the string"
NO_BLANK_AFTER_COLON = re.compile(r"\s*(- )?[\w.-]+:[^\s/]")


@dataclass
class YamlError(Exception):
    """A document that cannot be read: its place in the file, counted from 1, what is wrong and what to do."""

    line: int
    column: int | None
    problem: str
    fix: str

    def moved(self, lines: int) -> "YamlError":
        """Return the same error in a file with so many more lines above it."""
        return replace(self, line=self.line + lines)


@dataclass(frozen=True)
class _Finding:
    """What the parser says, with the lines around it; marks count from 0."""

    problem: str
    context: str
    lines: list[str]
    line: int
    column: int
    opened: tuple[int, int]

    @property
    def character(self) -> str:
        """What is at the mark; empty at the end of a line."""
        return self.at(self.line, self.column)

    def at(self, line: int, column: int, length: int = 1) -> str:
        """Return what is at a place, which may be after the end."""
        return self.lines[line][column : column + length] if line < len(self.lines) else ""

    @property
    def before(self) -> str:
        """What is left of the mark."""
        return self.lines[self.line][: self.column] if self.line < len(self.lines) else ""

    @property
    def line_above(self) -> int | None:
        """The nearest line above that has content."""
        return next((n for n in range(min(self.line, len(self.lines)) - 1, -1, -1) if self.lines[n].split("#")[0].strip()), None)

    def here(self, problem: str, fix: str) -> YamlError:
        return YamlError(self.line + 1, self.column + 1, problem, fix)

    def where_it_began(self, problem: str, fix: str) -> YamlError:
        return YamlError(self.opened[0] + 1, self.opened[1] + 1, problem, fix)


def explained(error: yaml.YAMLError, text: str) -> YamlError:
    """Return what `error`, which parsing `text` raised, means to whoever wrote the text."""
    if isinstance(error, yaml.reader.ReaderError):
        return _unreadable(error, text)
    mark: Any = getattr(error, "problem_mark", None)
    problem: str = getattr(error, "problem", None) or str(error)
    if mark is None:
        return YamlError(1, None, problem, "fix the file")
    opened: Any = getattr(error, "context_mark", None) or mark
    context: str = getattr(error, "context", None) or ""
    finding = _Finding(problem, context, LINE_BREAK.split(text), mark.line, mark.column, (opened.line, opened.column))
    for pattern, explain in EXPLANATIONS:
        if re.search(pattern, f"{finding.context}: {problem}"):
            return explain(finding)
    return finding.here(problem, "fix that line")


def _unreadable(error: Any, text: str) -> YamlError:
    character = error.character if isinstance(error.character, int) else ord(error.character)
    index = text.find(chr(character))
    line, start = text.count("\n", 0, index), text.rfind("\n", 0, index) + 1
    fix = "remove it" if character else "save the file as UTF-8"
    return YamlError(line + 1, index - start + 1, f"there is a control character, U+{character:04X}", fix)


def _cannot_start(finding: _Finding) -> YamlError:
    if finding.character == "\t":
        return finding.here(
            "the line is indented with a tab" if not finding.before.strip() else "there is a tab before a value", "use spaces"
        )
    return finding.here(f"a value cannot begin with {finding.character}", QUOTE)


def _colon(finding: _Finding) -> YamlError:
    if re.search(r":\s", finding.before.lstrip(" -?")):
        return finding.here("there is a second ': ' in one value", f"{QUOTE} that holds it, or start a new line")
    above = finding.line_above
    if above is not None and NO_BLANK_AFTER_COLON.match(finding.lines[above]):
        return YamlError(above + 1, None, "there is no space after the colon", "write 'key: value'")
    return finding.here(
        "this key is indented deeper than the one above it, which has a value", "indent it like the key above, or take that value away"
    )


def _misplaced(finding: _Finding) -> YamlError:
    if finding.before.strip():
        quote = next((mark for mark in "'\"" if finding.before.rstrip().endswith(mark)), None)
        if quote:
            fix = "write '' for a ' in single quotes" if quote == "'" else 'write \\" for a " in double quotes'
            return finding.here(f"there is text after the closing {quote}", f"{fix}, or use the other quotes outside")
        return finding.here(f"{finding.character or 'the end'} was found where a key was expected", QUOTE)
    began = finding.opened[0] + 1
    if finding.character == "-":
        return finding.here(f"a list entry is mixed with the keys that began in line {began}", "indent it like the entries of its list")
    return finding.here(
        f"the indentation matches no line above; the keys before it began in line {began}", "indent it like the keys it belongs to"
    )


def _among_entries(finding: _Finding) -> YamlError:
    began = finding.opened[0] + 1
    return finding.here(f"this line is not an entry of the list that began in line {began}", "start it with '- ', or fix its indentation")


def _unclosed(finding: _Finding) -> YamlError:
    opening, closing = ("[", "]") if "sequence" in finding.context else ("{", "}")
    return finding.where_it_began(f"{opening} is not closed, or a comma is missing after it", f"add {closing} or the comma")


def _no_colon(finding: _Finding) -> YamlError:
    return finding.where_it_began(
        "this line is not 'key: value', it has no colon with a space after it", "add the colon, or indent a text that continues"
    )


def _no_value(finding: _Finding) -> YamlError:
    if not finding.character:
        return finding.here("the text ends inside [ or {", "close it")
    return finding.here(f"{finding.character} was found where a value was expected", "give a value, or take it away")


def _escape(finding: _Finding) -> YamlError:
    sequence = finding.at(finding.line, finding.column, 2)
    return finding.here(f"{sequence} is not an escape in double quotes", "double the backslash, or use single quotes")


def _cannot_begin(finding: _Finding) -> YamlError:
    return finding.where_it_began(f"a value cannot begin with {finding.at(*finding.opened)}", QUOTE)


def _directive(finding: _Finding) -> YamlError:
    return YamlError(1, 1, "kubectl does not read directives (%…)", "remove the line")


EXPLANATIONS = (
    (r"cannot start any token", _cannot_start),
    (r"found a tab character", lambda f: f.here("the line is indented with a tab", "use spaces")),
    (r"mapping values are not allowed", _colon),
    (r"block mapping: did not find expected key", _misplaced),
    (r"did not find expected '-' indicator", _among_entries),
    (r"did not find expected ',' or|expected ',' or", _unclosed),
    (r"quoted scalar: found unexpected", lambda f: f.where_it_began("this quote is never closed", "close it")),
    (r"could not find expected ':'", _no_colon),
    (
        r"block sequence entries are not allowed",
        lambda f: f.here("a list entry starts on the line of its key", f"start it on a line of its own, or {QUOTE}"),
    ),
    (r"did not find expected node content", _no_value),
    (r"unknown escape character", _escape),
    (r"scanning an (alias|anchor)|undefined tag handle|scanning a (tag|directive)", _cannot_begin),
    (
        r"block scalar: did not find expected comment",
        lambda f: f.where_it_began("there is text on the line of | or >", "start it on the next line"),
    ),
    (r"<document start>", _directive),
)
