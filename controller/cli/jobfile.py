"""Reads the YAML file that the user gives: one FineTuneJob and the objects that stand beside it.

Refuses what the API server would refuse, in the same strictness (names in camelCase only, no numbers in quotes, no key
twice), and reports every mistake at once. Tests: tests/controller/cli/test_jobfile.py.
"""

import base64
import binascii
import json
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from controller.api.spec import GROUP, KIND, NAME_MAX_LENGTH, VERSION, FineTuneJobSpec
from controller.cli.problems import BadInputError, closest, explain
from trainer.config.errors import InputError

API_VERSION = f"{GROUP}/{VERSION}"
CONFIG_MAP_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
CONFIG_MAP_KEY = re.compile(r"(?!\.\.?$)[-._a-zA-Z0-9]+")
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
METADATA = (
    "name", "namespace", "labels", "annotations", "generateName", "finalizers", "ownerReferences", "uid", "resourceVersion",
    "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink",
)  # fmt: skip


@dataclass(frozen=True)
class ConfigMap:
    """A ConfigMap among the documents: the bytes under each of its keys."""

    name: str
    data: dict[str, bytes]


@dataclass(frozen=True)
class JobFile:
    """What the file says. `ignored` names the documents that have no meaning here."""

    path: Path
    name: str
    spec: FineTuneJobSpec
    labels: dict[str, str] = field(default_factory=dict)
    config_maps: dict[str, ConfigMap] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


class _Loader(yaml.SafeLoader):
    """YAML as the Kubernetes tools read it: 2e-4 is a number, dates stay texts, a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError("while reading a mapping", node.start_mark, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def read_job_file(path: Path) -> JobFile:
    """Return what the file at `path` says; BadInputError if it has no single good FineTuneJob."""
    documents = _documents(path)
    position, job = _the_job(path, documents)
    name, errors = _check_envelope(job)
    spec: FineTuneJobSpec | None = None
    if isinstance(job.get("spec"), dict):
        try:
            wire = json.dumps(job["spec"], default=str, allow_nan=False)
            spec = FineTuneJobSpec.model_validate_json(wire, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            errors += explain(error, FineTuneJobSpec, job["spec"], "spec")
        except ValueError:
            errors.append(InputError("spec", "holds .inf or .nan, which no field takes", "give finite numbers"))
    if errors or spec is None:
        raise BadInputError(errors)
    config_maps: dict[str, ConfigMap] = {}
    ignored: list[str] = []
    for index, document in enumerate(documents):
        kind = document.get("kind")
        if kind == "ConfigMap":
            config_map = _config_map(index, document)
            config_maps[config_map.name] = config_map
        elif index != position and kind != "PersistentVolumeClaim":
            ignored.append(f"{kind or 'a document without a kind'} {_name_of(document)}".strip())
    labels = job["metadata"].get("labels") or {}
    return JobFile(path, name, spec, labels, config_maps, tuple(ignored))


def _documents(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError([InputError(str(path), "there is no such file", "give the path of a YAML file with a FineTuneJob")]) from None
    except UnicodeDecodeError as error:
        raise BadInputError(
            [InputError(str(path), f"is not UTF-8 text ({error.reason} at byte {error.start})", "save it as UTF-8")]
        ) from None
    except OSError as error:
        raise BadInputError([InputError(str(path), f"cannot be read ({error.strerror})", "give a readable YAML file")]) from None
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadInputError([InputError(where, f"is not YAML: {problem}", "mend that line; indentation is with spaces only")]) from None
    except (ValueError, RecursionError) as error:
        raise BadInputError([InputError(str(path), f"is not YAML: {error}", "mend the file")]) from None
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict):
            raise BadInputError(
                [InputError(str(path), f"document {number} is not an object", "begin it with apiVersion, kind and metadata")]
            )
    return documents


def _the_job(path: Path, documents: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    jobs = [(index, document) for index, document in enumerate(documents) if document.get("kind") == KIND]
    if len(jobs) == 1:
        return jobs[0]
    if len(jobs) > 1:
        names = ", ".join(_name_of(document) for _, document in jobs)
        raise BadInputError([InputError(str(path), f"has {len(jobs)} documents of kind {KIND} ({names})", "keep one job in a file")])
    kinds = [str(document.get("kind")) for document in documents]
    misspelt = next((kind for kind in kinds if kind.lower() in (KIND.lower(), "ftj")), None)
    if misspelt:
        raise BadInputError([InputError("kind", f"there is no kind {misspelt!r}", f"write {KIND}")])
    found = f"it has: {', '.join(kinds)}" if kinds else "it is empty"
    raise BadInputError([InputError(str(path), f"has no document of kind {KIND} ({found})", f"add one with apiVersion {API_VERSION}")])


def _check_envelope(job: dict[str, Any]) -> tuple[str, list[InputError]]:
    """Check all but the spec, as the API server does; return the job's name and what is wrong."""
    errors: list[InputError] = []
    if job.get("apiVersion") != API_VERSION:
        given = f"is {job['apiVersion']!r}" if "apiVersion" in job else "is missing"
        errors.append(InputError("apiVersion", given, f"write {API_VERSION}"))
    errors += _unknown("", job, TOP_LEVEL)
    if not isinstance(job.get("spec"), dict):
        errors.append(InputError("spec", "is missing" if job.get("spec") is None else "is not an object", "say there what to fine-tune"))
    metadata = job.get("metadata")
    if not isinstance(metadata, dict):
        errors.append(InputError("metadata", "is missing" if metadata is None else "is not an object", "give it a name"))
        return "", errors
    errors += _unknown("metadata.", metadata, METADATA)
    for member in ("labels", "annotations"):
        values = metadata.get(member)
        if values is not None and not (isinstance(values, dict) and all(isinstance(x, str) for pair in values.items() for x in pair)):
            errors.append(InputError(f"metadata.{member}", "is not an object of texts", "put quotes around numbers, true and false"))
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        errors.append(InputError("metadata.name", "is missing" if name is None else f"{name!r} is not a name", "give the job a name"))
        return "", errors
    if len(name) > NAME_MAX_LENGTH:
        errors.append(InputError("metadata.name", f"{name!r} has {len(name)} characters", f"use at most {NAME_MAX_LENGTH}"))
    if not DNS_1035.fullmatch(name):
        fix = "use lower-case letters, digits and dashes, beginning with a letter and not ending with a dash"
        errors.append(InputError("metadata.name", f"{name!r} is not a DNS-1035 label", fix))
    return name, errors


def _unknown(prefix: str, given: dict[str, Any], known: Iterable[str]) -> list[InputError]:
    known = tuple(known)
    return [InputError(f"{prefix}{name}", "there is no such field", closest(str(name), known)) for name in given if name not in known]


def _config_map(index: int, document: dict[str, Any]) -> ConfigMap:
    name = _name_of(document)
    where = f"ConfigMap {name}" if name else f"document {index + 1} (ConfigMap)"
    if not name:
        raise BadInputError([InputError(f"{where}.metadata.name", "is missing", "name it as the job's configMap sources do")])
    if not CONFIG_MAP_NAME.fullmatch(name):
        fix = "use lower-case letters, digits, dashes and dots"
        raise BadInputError([InputError(f"{where}.metadata.name", f"{name!r} is not a name that Kubernetes takes", fix)])
    data: dict[str, bytes] = {}
    for member in ("data", "binaryData"):
        values = document.get(member) or {}
        if not isinstance(values, dict):
            raise BadInputError([InputError(f"{where}.{member}", "is not an object", "give it keys with texts")])
        for key, value in values.items():
            if not CONFIG_MAP_KEY.fullmatch(str(key)):
                fix = "use letters, digits, dashes, dots and underscores"
                raise BadInputError([InputError(f"{where}.{member}", f"{str(key)!r} is not a key that Kubernetes takes", fix)])
            if not isinstance(value, str):
                raise BadInputError([InputError(f"{where}.{member}.{key}", "is not a text", "write it as a block with |")])
            try:
                data[str(key)] = value.encode() if member == "data" else base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise BadInputError([InputError(f"{where}.{member}.{key}", "is not base64", "put plain text under data")]) from None
    return ConfigMap(name, data)


def _name_of(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
