"""The ConfigMaps beside a job in its file, checked as the API server checks them.

Tests: tests/finetune/cli/jobfile/test_configmaps.py and, against the API server, tests/integration/test_job_files.py.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.api.errors import BadInputError, InputError
from finetune.cli.jobfile.metadata import is_subdomain, metadata_problems
from finetune.cli.jobfile.problems import shown
from finetune.cli.jobfile.suggestions import closest

FIELDS = ("apiVersion", "kind", "metadata", "data", "binaryData", "immutable")
KEY = re.compile(r"(?!\.\.?$)(?!\.\.)[-._a-zA-Z0-9]{1,253}")
LARGEST_BYTES = 1024 * 1024
"""What the API server takes in one ConfigMap, over all of its keys."""


@dataclass(frozen=True)
class ConfigMap:
    """A ConfigMap among the documents: the bytes under each of its keys."""

    name: str
    data: dict[str, bytes]

    @property
    def size_as_json(self) -> int:
        """About how many bytes kubectl sends: quotes and line breaks count twice."""
        return sum(len(json.dumps(text.decode(errors="replace"), ensure_ascii=False).encode()) for text in self.data.values())


def read_config_map(document: Mapping[str, Any]) -> ConfigMap:
    """Return what a document of kind ConfigMap holds; BadInputError for what the API server would refuse."""
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    where = f"ConfigMap {name}" if isinstance(name, str) and name else "a ConfigMap"
    errors = _envelope(document, where)
    if name is None or name == "":
        errors.append(InputError(f"{where}.metadata.name", "is missing", "name it as the job's configMap sources do"))
    elif isinstance(name, str) and not is_subdomain(name):
        fix = "use at most 253 lower-case letters, digits, dashes and dots"
        errors.append(InputError(f"{where}.metadata.name", f"{name!r} is not a name that Kubernetes takes", fix))
    data: dict[str, bytes] = {}
    for member in ("data", "binaryData"):
        values = document.get(member)
        if values is not None and not isinstance(values, dict):
            errors.append(InputError(f"{where}.{member}", "is not an object", "give it keys with strings"))
            continue
        for key, value in (values or {}).items():
            if not KEY.fullmatch(key):
                fix = "use at most 253 letters, digits, dashes, dots and underscores"
                errors.append(InputError(f"{where}.{member}", f"{key!r} is not a key that Kubernetes takes", fix))
            elif key in data:
                errors.append(InputError(f"{where}.{member}.{key}", "is in data as well", "keep one of them"))
            else:
                data[key] = _bytes(f"{where}.{member}.{key}", member, value, errors)
    size = sum(map(len, data.values()))
    if size > LARGEST_BYTES:
        fix = "put the rows into a file (path), on a claim or on the hub"
        errors.append(InputError(where, f"holds {size:,} bytes, a ConfigMap takes {LARGEST_BYTES:,}", fix))
    if errors:
        raise BadInputError(errors)
    return ConfigMap(str(name), data)


def _envelope(document: Mapping[str, Any], where: str) -> list[InputError]:
    errors = [
        InputError(f"{where}.{field}", "there is no such field", closest(field, FIELDS, document))
        for field in document
        if field not in FIELDS
    ]
    if document.get("apiVersion") != "v1":
        errors.append(InputError(f"{where}.apiVersion", f"is {document.get('apiVersion')!r}", "write v1"))
    immutable = document.get("immutable")
    if immutable is not None and not isinstance(immutable, bool):
        errors.append(InputError(f"{where}.immutable", f"{shown(immutable)} is not true or false", "write true, or leave it out"))
    metadata = document.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        errors.append(InputError(f"{where}.metadata", "is not an object", "give it a name"))
    return errors + metadata_problems(metadata if isinstance(metadata, dict) else {}, f"{where}.metadata")


def _bytes(field: str, member: str, value: Any, errors: list[InputError]) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        errors.append(InputError(field, f"{shown(value)} is not a string", "put quotes around it, or write it as a block with |"))
        return b""
    if member == "data":
        return value.encode()
    try:
        return base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        errors.append(InputError(field, "is not base64", "put plain text under data"))
        return b""
