"""No program of this project runs code that comes with a model: every loader of transformers is told so, and no job can ask for it."""

import ast
from collections.abc import Iterator
from typing import Any

from finetune.api.crd import manifest_text
from tests.repository import REPOSITORY

AUTO_LOADERS = {"from_pretrained", "from_config"}
ROOMS = ("trainer", "finetune", "controller")


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def loads_by_configuration(call: ast.Call) -> bool:
    """Whether a call lets the model's own files decide which class is loaded: AutoX.from_pretrained, auto_class.from_config."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in AUTO_LOADERS:
        return False
    return "auto" in ast.unparse(call.func.value).lower()


def trusts(call: ast.Call) -> list[Any]:
    return [keyword.value for keyword in call.keywords if keyword.arg == "trust_remote_code"]


def test_every_loader_is_told_to_run_no_code_of_a_model() -> None:
    told, untold = 0, []
    for path in (path for room in ROOMS for path in sorted((REPOSITORY / room).rglob("*.py"))):
        for call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            values = trusts(call)
            told += len(values)
            safe = all(isinstance(value, ast.Constant) and value.value is False for value in values)
            if not safe or (loads_by_configuration(call) and not values):
                untold.append(f"{path.relative_to(REPOSITORY)}:{call.lineno}: {ast.unparse(call)[:100]}")
    assert untold == []
    assert told >= 5


def test_no_member_of_a_job_asks_for_code_or_images_of_its_own() -> None:
    definition = manifest_text().lower()
    for word in ("trustremotecode:", "remotecode:", "image:", "command:", "args:", "env:"):
        assert word not in definition
