"""No file is read or written in whatever encoding the user's locale happens to have."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

MODULES = sorted(path for package in ("finetune", "controller", "trainer") for path in (REPOSITORY / package).rglob("*.py"))
METHODS = {"read_text", "write_text", "open"}
OTHER_OPENERS = {"os", "tarfile", "zipfile", "webbrowser", "Image", "safe_open", "Shard", "GgufFile"}
"""Whose `open` opens no text."""


def without_encoding(source: str) -> Iterator[int]:
    """Yield the lines of calls that open a text file and name no encoding."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _opens_text(node) and not any(keyword.arg == "encoding" for keyword in node.keywords):
            yield node.lineno


def _opens_text(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id == "open" and "b" not in _mode(call.args[1:2], call)
    if not isinstance(function, ast.Attribute) or function.attr not in METHODS:
        return False
    if isinstance(function.value, ast.Name) and function.value.id in OTHER_OPENERS:
        return False
    if function.attr != "open":
        return True
    # Path.open takes the mode first, the open of modules such as gzip the file.
    return "b" not in _mode(call.args[:2], call)


def _mode(arguments: list[ast.expr], call: ast.Call) -> str:
    given = [*arguments, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return "".join(value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_text_file_has_its_encoding(module: Path) -> None:
    assert list(without_encoding(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "call",
    ["path.read_text()", "path.write_text(text)", "open(path)", "open(path, 'w')", "path.open()", "path.open('a')"],
)
def test_a_call_without_one_is_found(call: str) -> None:
    assert list(without_encoding(call)) == [1]


@pytest.mark.parametrize(
    "call", ["path.read_text(encoding='utf-8')", "open(path, 'rb')", "path.open('ab')", "path.open(mode='rb')", "os.open(path, os.O_RDWR)"]
)
def test_a_call_that_needs_none_is_not(call: str) -> None:
    assert list(without_encoding(call)) == []
