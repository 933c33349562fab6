"""Checks the metadata of an object as the API server does, so that labels and names are refused here and not at `kubectl apply`.

The rules are those of apimachinery's ValidateObjectMeta; types are those of ObjectMeta, read strictly. Pure.
Tests: tests/finetune/cli/jobfile/test_metadata.py and, against the API server, tests/integration/test_job_files.py.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from finetune.api.errors import InputError
from finetune.cli.jobfile.problems import shown
from finetune.cli.jobfile.suggestions import closest, for_wrong_type

LABEL_LENGTH, SUBDOMAIN_LENGTH, ANNOTATIONS_BYTES = 63, 253, 256 * 1024
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(rf"{DNS_LABEL.pattern}(\.{DNS_LABEL.pattern})*")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
TEXTS = ("name", "namespace", "generateName", "uid", "resourceVersion", "selfLink")
NUMBERS = ("generation", "deletionGracePeriodSeconds")
TIMES = ("creationTimestamp", "deletionTimestamp")
LISTS = ("finalizers", "ownerReferences", "managedFields")
FIELDS = (*TEXTS, *NUMBERS, *TIMES, *LISTS, "labels", "annotations")
SUGGESTED = ("name", "namespace", "labels", "annotations")
"""The fields that an author writes; the others are the server's."""
OWNER_TEXTS, OWNER_FLAGS = ("apiVersion", "kind", "name", "uid"), ("controller", "blockOwnerDeletion")

Problems = Iterator[InputError]


def metadata_problems(metadata: Mapping[str, Any], where: str = "metadata") -> list[InputError]:
    """Return what the API server would refuse, but for the object's name, whose form depends on the kind."""
    return list(_problems(metadata, where))


def is_subdomain(text: str) -> bool:
    """Whether `text` is a DNS-1123 subdomain, as names of ConfigMaps are."""
    return len(text) <= SUBDOMAIN_LENGTH and SUBDOMAIN.fullmatch(text) is not None


def _problems(metadata: Mapping[str, Any], where: str) -> Problems:
    for name, value in metadata.items():
        field = f"{where}.{name}"
        if name not in FIELDS:
            yield InputError(field, "there is no such field", closest(name, SUGGESTED, metadata))
        elif value is not None:
            yield from CHECKS.get(name, _text)(value, field)


def _text(value: Any, field: str) -> Problems:
    if not isinstance(value, str):
        yield InputError(field, f"{shown(value)} is not a string", for_wrong_type(value, "a string", str))


def _namespace(value: Any, field: str) -> Problems:
    yield from _text(value, field)
    if isinstance(value, str) and value and not (len(value) <= LABEL_LENGTH and DNS_LABEL.fullmatch(value)):
        yield InputError(field, f"{value!r} is not the name of a namespace", "use at most 63 lower-case letters, digits and dashes")


def _number(value: Any, field: str) -> Problems:
    if isinstance(value, bool) or not isinstance(value, int):
        yield InputError(field, f"{shown(value)} is not a whole number", "leave it out, the server sets it")


def _time(value: Any, field: str) -> Problems:
    try:
        if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value):
            raise ValueError
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        yield InputError(field, f"{shown(value)} is not a time", "leave it out, the server sets it")


def _texts(value: Any, field: str) -> Problems:
    """Check an object of texts; nothing for a value counts as an empty text, as it does to the server."""
    if not isinstance(value, dict):
        yield InputError(field, f"{shown(value)} is not an object (name: value)", "give names with strings")
        return
    for key, text in value.items():
        if text is not None and not isinstance(text, str):
            would_do = (
                not isinstance(text, int | float) or isinstance(text, bool) or "labels" not in field or QUALIFIED.fullmatch(str(text))
            )
            fix = for_wrong_type(text, "a string", str) if would_do else "give a string"
            yield InputError(f"{field}[{key}]", f"{shown(text)} is not a string", fix)


def _labels(value: Any, field: str) -> Problems:
    yield from _texts(value, field)
    for key, text in value.items() if isinstance(value, dict) else ():
        yield from _qualified(key, f"{field}[{key}]", "label")
        if isinstance(text, str) and text and not (len(text) <= LABEL_LENGTH and QUALIFIED.fullmatch(text)):
            long = f"has {len(text)} characters" if len(text) > LABEL_LENGTH else "is not the value of a label"
            fix = "use at most 63 letters, digits, '-', '_' and '.', a letter or digit first and last; other strings go into annotations"
            yield InputError(f"{field}[{key}]", f"{text!r} {long}", fix)


def _annotations(value: Any, field: str) -> Problems:
    yield from _texts(value, field)
    if not isinstance(value, dict):
        return
    for key in value:
        yield from _qualified(key.lower(), f"{field}[{key}]", "annotation")
    size = sum(len(text.encode()) for pair in value.items() for text in pair if isinstance(text, str))
    if size > ANNOTATIONS_BYTES:
        yield InputError(field, f"have {size} bytes in total", f"keep to {ANNOTATIONS_BYTES}")


def _qualified(key: str, field: str, what: str) -> Problems:
    prefix, slash, name = key.rpartition("/")
    if (slash and not is_subdomain(prefix)) or not (len(name) <= LABEL_LENGTH and QUALIFIED.fullmatch(name)):
        fix = "write name or domain/name, the name of at most 63 letters, digits, '-', '_' and '.', the domain in lower case"
        yield InputError(field, f"{key!r} is not the name of {'an' if what[0] == 'a' else 'a'} {what}", fix)


def _finalizers(value: Any, field: str) -> Problems:
    if not isinstance(value, list):
        yield InputError(field, f"{shown(value)} is not a list", "leave it out")
        return
    for index, name in enumerate(value):
        if name is not None and not isinstance(name, str):
            yield InputError(f"{field}[{index}]", f"{shown(name)} is not a string", "leave it out")
        else:
            yield from _qualified(name or "", f"{field}[{index}]", "finalizer")
    if {"orphan", "foregroundDeletion"} <= {name for name in value if isinstance(name, str)}:
        yield InputError(field, "orphan and foregroundDeletion exclude each other", "keep one of them")


def _owners(value: Any, field: str) -> Problems:
    if not isinstance(value, list):
        yield InputError(field, f"{shown(value)} is not a list", "leave it out")
        return
    for index, owner in enumerate(value):
        yield from _owner(owner if owner is not None else {}, f"{field}[{index}]")
    if sum(isinstance(owner, dict) and owner.get("controller") is True for owner in value) > 1:
        yield InputError(field, "more than one owner is the controller", "say controller: true of one at most")


def _owner(owner: Any, field: str) -> Problems:
    if not isinstance(owner, dict):
        yield InputError(field, f"{shown(owner)} is not an object (name: value)", "give it apiVersion, kind, name and uid")
        return
    for name, value in owner.items():
        if name not in (*OWNER_TEXTS, *OWNER_FLAGS):
            yield InputError(f"{field}.{name}", "there is no such field", closest(name, (*OWNER_TEXTS, *OWNER_FLAGS), owner))
        elif value is not None and not isinstance(value, str if name in OWNER_TEXTS else bool):
            yield InputError(f"{field}.{name}", f"{shown(value)} is not {'a string' if name in OWNER_TEXTS else 'true or false'}", "fix it")
    for name in OWNER_TEXTS:
        if not owner.get(name):
            yield InputError(f"{field}.{name}", "is missing", "copy it from the owner")
    version = owner.get("apiVersion")
    if isinstance(version, str) and (version.count("/") > 1 or (version == "v1" and owner.get("kind") == "Event")):
        yield InputError(f"{field}.apiVersion", f"{version!r} is not the version of an owner", "copy it from the owner")


def _managed(value: Any, field: str) -> Problems:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        yield InputError(field, f"{shown(value)} is not a list of objects", "leave it out, the server sets it")


CHECKS: Mapping[str, Callable[[Any, str], Problems]] = {
    "namespace": _namespace,
    "labels": _labels,
    "annotations": _annotations,
    "finalizers": _finalizers,
    "ownerReferences": _owners,
    "managedFields": _managed,
    **dict.fromkeys(NUMBERS, _number),
    **dict.fromkeys(TIMES, _time),
}
