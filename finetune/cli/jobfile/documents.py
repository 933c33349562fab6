"""Takes a file apart into the objects that kubectl would find in it, in kubectl's order.

kubectl cuts a file at every line that begins with `---`, reads each piece as YAML (a file that begins with `{` as JSON objects,
where it can), passes over empty ones, and takes the items out of lists. A byte order mark is honored. Where a byte is not UTF-8
kubectl continues with U+FFFD; here that is accepted in comments only, because elsewhere it would be learned.
Tests: tests/finetune/cli/jobfile/test_documents.py and, against kubectl, test_kubectl.py.
"""

import codecs
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.api.errors import BadInputError, InputError
from finetune.cli.jobfile.scalars import as_json
from finetune.cli.jobfile.yamlreader import parse
from finetune.cli.jobfile.yamlwords import YamlError

SEPARATOR = "---"
LARGEST_FILE = 64 * 1024 * 1024
"""More than any cluster would take: a ConfigMap holds 1 MiB. Rows or weights were given by mistake."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass
class Documents:
    """The objects of a file, and what of it has no effect, in words."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)


def read_documents(path: Path) -> Documents:
    """Return the objects in the file at `path`; BadInputError where kubectl could not read it."""
    content = _content(path)
    text, damage = _decoded(content)
    try:
        found = _from_json(text) or _from_yaml(text)
    except YamlError as error:
        place = f"{path}:{error.line}" + (f":{error.column}" if error.column is not None else "")
        raise BadInputError([InputError(place, f"is not YAML: {error.problem}", error.fix)]) from None
    if damage is not None and REPLACEMENT in json.dumps(found.objects, ensure_ascii=False):
        line = content.count(b"\n", 0, damage) + 1
        raise BadInputError([InputError(f"{path}:{line}", "is not UTF-8 text", "save the file as UTF-8")])
    found.objects = [item for number, value in enumerate(found.objects, 1) for item in _flattened(path, number, value)]
    return found


def kind_of(document: Mapping[str, Any]) -> str:
    """Return the kind of an object, an empty text where it has none."""
    kind = document.get("kind")
    return kind if isinstance(kind, str) else ""


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInputError([InputError(str(path), "is too large for a job file", "give the YAML file that holds the FineTuneJob")])
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInputError([InputError(str(path), "there is no such file", "give the path of a YAML file with a FineTuneJob")]) from None
    except OSError as error:
        raise BadInputError([InputError(str(path), f"cannot be read ({error.strerror})", "give a readable YAML file")]) from None


def _decoded(content: bytes) -> tuple[str, int | None]:
    """Return the text, and where the first byte is that is not part of it."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace"), None
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        return content.decode(errors="replace"), error.start


def _from_json(text: str) -> Documents | None:
    """Return the objects of a file of JSON objects, one after the other; None where it is something else."""
    decoder = json.JSONDecoder(object_pairs_hook=_without_twins, parse_float=_number, parse_int=_number, parse_constant=_not_json)
    found, position = Documents(), _next_character(text, 0)
    if not text.startswith("{", position):
        return None
    try:
        while position < len(text):
            value, end = decoder.raw_decode(text, position)
            found.objects.append(value)
            position = _next_character(text, end)
        json.dumps(found.objects, ensure_ascii=False).encode()  # half of a character, \ud83d, cannot be
    except (ValueError, RecursionError):
        return None  # as YAML it has an error with a line, or is good
    return found


def _next_character(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key is given twice")
    return members


def _number(digits: str) -> int | float:
    number = float(digits) if {*digits} & {*".eE"} else int(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return as_json(number)


def _not_json(name: str) -> None:
    raise ValueError(name)


def _from_yaml(text: str) -> Documents:
    found = Documents()
    for first_line, piece in _pieces(text):
        parsed = parse(piece, first_line)
        found.without_effect += parsed.without_effect
        if parsed.value is not None:
            found.objects.append(parsed.value)
    return found


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield each document with the number of lines above it."""
    first, lines = 0, list[str]()
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
        if not line.startswith(SEPARATOR):
            lines.append(line)
            continue
        behind = line.removeprefix(SEPARATOR).strip()
        if behind and not behind.startswith("#"):
            raise YamlError(number + 1, len(SEPARATOR) + 1, f"there is text on the line of {SEPARATOR}", "start it on the next line")
        yield first, "\n".join(lines)
        first, lines = number + 1, []
    yield first, "\n".join(lines)


def _flattened(path: Path, number: int, value: Any) -> list[dict[str, Any]]:
    """Return the object, or the items of a list."""
    where = f"document {number}"
    if not isinstance(value, dict):
        raise BadInputError([InputError(str(path), f"{where} is not an object", "begin it with apiVersion, kind and metadata")])
    if "items" not in value:
        return [value]
    if not kind_of(value):
        raise BadInputError([InputError(f"{path}: {where}", "has items and no kind", "write kind: List, or leave items out")])
    items = value["items"] if value["items"] is not None else []
    if not isinstance(items, list) or not all(isinstance(item, dict) and "items" not in item for item in items):
        raise BadInputError([InputError(f"{path}: {where}", "items is not a list of plain objects", "give it objects, or leave items out")])
    inferred = {"apiVersion": value.get("apiVersion"), "kind": value["kind"].removesuffix("List")}
    return [entry for item in items for entry in _flattened(path, number, item if item.get("kind") else {**item, **inferred})]
