"""Reads the YAML file that the user gives: one FineTuneJob and the objects beside it.

Takes what `kubectl apply` and the API server take, and refuses what they refuse, every mistake at once. Two things differ:
a duplicate key is refused, of which kubectl silently drops the first; and `spec.output` may be left out, because
the folder of --output takes the claim's place. Tests: tests/finetune/cli/jobfile/test_reading.py; against the API server
tests/integration/test_job_files.py.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune.api.earlierjobs import ITSELF, NAME_MAX_LENGTH
from finetune.api.errors import BadInputError, InputError
from finetune.api.resolve import FIELDS_OF_JOBS, named_jobs
from finetune.api.spec import API_VERSION, KIND, SHORT_NAME, FineTuneJobSpec
from finetune.api.status import FineTuneJobStatus
from finetune.cli.jobfile.configmaps import ConfigMap, read_config_map
from finetune.cli.jobfile.documents import kind_of, read_documents
from finetune.cli.jobfile.fields import fields_of, without_nulls
from finetune.cli.jobfile.metadata import SUGGESTED, metadata_problems
from finetune.cli.jobfile.problems import explain, shown
from finetune.cli.jobfile.suggestions import closest

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
WRITTEN = ("apiVersion", "kind", "metadata", "spec")
GENERATED_SUFFIX = "x" * 5
"""Stands for what the API server puts behind a generateName."""
STAND_IN_CLAIM = {"claimName": "results"}
"""Takes the place of a claim that the file does not name; nothing here reads it."""


@dataclass(frozen=True)
class JobFile:
    """What the file says. `ignored` names what has no meaning here, `names_output`: a cluster would know where to write."""

    path: Path
    name: str
    spec: FineTuneJobSpec
    labels: dict[str, str] = field(default_factory=dict)
    config_maps: dict[str, ConfigMap] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    names_output: bool = True


def read_job_file(path: Path) -> JobFile:
    """Return what the file at `path` says; BadInputError if it has no single good FineTuneJob."""
    documents = read_documents(path)
    position, job = _the_job(path, documents.objects)
    name, errors = _check_envelope(job)
    errors += _check_others(path, position, documents.objects)
    given = without_nulls(job.get("spec"), FineTuneJobSpec)
    names_output = _names_output(given)
    spec: FineTuneJobSpec | None = None
    if isinstance(given, dict):
        try:
            wire = json.dumps(given if names_output else _with_output(given))
            spec = FineTuneJobSpec.model_validate_json(wire, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            errors += explain(error, FineTuneJobSpec, given, "spec")
    errors += _itself(spec, name) if spec is not None else []
    if errors or spec is None:
        raise BadInputError(errors)
    config_maps: dict[str, ConfigMap] = {}
    ignored = [*documents.without_effect, *(["status, which the controller writes"] if job.get("status") else [])]
    for index, document in enumerate(documents.objects):
        if kind_of(document) == "ConfigMap":
            config_map = read_config_map(document)
            if _elsewhere(document, job):
                ignored.append(f"ConfigMap {config_map.name}, of another namespace than the job's")
                continue
            if config_map.name in config_maps:
                ignored.append(f"the first ConfigMap {config_map.name}, a later one replaces it")
            config_maps[config_map.name] = config_map
        elif index != position and kind_of(document) != "PersistentVolumeClaim":
            ignored.append(f"{kind_of(document)} {_name_of(document)}".strip())
    labels = {key: value or "" for key, value in (job["metadata"].get("labels") or {}).items()}
    return JobFile(path, name, spec, labels, config_maps, tuple(ignored), names_output)


def _the_job(path: Path, documents: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    jobs = [(index, document) for index, document in enumerate(documents) if kind_of(document) == KIND]
    if len(jobs) == 1:
        return jobs[0]
    if len(jobs) > 1:
        names = ", ".join(_name_of(document) for _, document in jobs)
        raise BadInputError([InputError(str(path), f"has {len(jobs)} documents of kind {KIND} ({names})", "keep one job in a file")])
    kinds = [kind_of(document) or "a document without a kind" for document in documents]
    misspelled = next((kind for kind in kinds if kind.lower() in (KIND.lower(), SHORT_NAME)), None)
    if misspelled:
        raise BadInputError([InputError("kind", f"there is no kind {misspelled!r}", f"write {KIND}")])
    found = f"it has: {', '.join(dict.fromkeys(kinds))}" if kinds else "it is empty"
    raise BadInputError(
        [
            InputError(
                str(path),
                f"has no document of kind {KIND} ({found})",
                f"begin it with apiVersion: {API_VERSION}, kind: {KIND}, metadata: {{name: my-job}} and spec",
            )
        ]
    )


def _check_envelope(job: Mapping[str, Any]) -> tuple[str, list[InputError]]:
    """Check all but the spec, as the API server does; return the job's name and what is wrong."""
    errors: list[InputError] = []
    if job.get("apiVersion") != API_VERSION:
        given = f"is {shown(job['apiVersion'])}" if job.get("apiVersion") is not None else "is missing"
        errors.append(InputError("apiVersion", given, f"write {API_VERSION}"))
    errors += _unknown(job, TOP_LEVEL)
    if not isinstance(job.get("spec"), dict):
        errors.append(InputError("spec", "is missing" if job.get("spec") is None else "is not an object", "say there what to fine-tune"))
    errors += _check_status(job.get("status"))
    metadata = job.get("metadata")
    if not isinstance(metadata, dict):
        errors.append(InputError("metadata", "is missing" if metadata is None else "is not an object", "give it a name"))
        return "", errors
    name, name_errors = _check_name(metadata)
    return name, errors + name_errors + [found for found in metadata_problems(metadata) if found.field != "metadata.name"]


def _itself(spec: FineTuneJobSpec, name: str) -> list[InputError]:
    """Refuse a job that names itself as the earlier one."""
    problem, _, fix = ITSELF.partition("; ")
    return [InputError(f"spec.{FIELDS_OF_JOBS[job.field]}", problem, fix) for job in named_jobs(spec) if job.name == name]


def _elsewhere(document: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    """Whether an object is of another namespace than the job, as far as the file says so."""
    namespaces = {found["metadata"].get("namespace") or "" for found in (document, job)}
    return len(namespaces - {""}) > 1


def _check_others(path: Path, position: int, documents: list[dict[str, Any]]) -> list[InputError]:
    """Name the documents beside the job that kubectl would not know what to do with."""
    errors = []
    for index, document in enumerate(documents):
        version = document.get("apiVersion")
        if index != position and not (kind_of(document) and isinstance(version, str) and version):
            missing = "apiVersion" if kind_of(document) else "kind"
            errors.append(InputError(f"{path}: document {index + 1}", f"has no {missing}", "add it, or take the document away"))
    return errors


def _check_name(metadata: Mapping[str, Any]) -> tuple[str, list[InputError]]:
    """Return the job's name, which of a generateName is its beginning, and what is wrong with it."""
    name, given = metadata.get("name"), "name"
    if name in (None, "") and isinstance(metadata.get("generateName"), str) and metadata["generateName"]:
        given, name = "generateName", metadata["generateName"] + GENERATED_SUFFIX
    if name is None or name == "":
        return "", [InputError("metadata.name", "is missing" if name is None else "is empty", "give the job a name")]
    if not isinstance(name, str):
        return "", [InputError("metadata.name", f"{shown(name)} is not a string", "give a name that begins with a letter, in quotes")]
    errors = []
    shown_name = metadata[given]
    if len(name) > NAME_MAX_LENGTH:
        most = NAME_MAX_LENGTH - (len(name) - len(shown_name))
        errors.append(InputError(f"metadata.{given}", f"{shown_name!r} has {len(shown_name)} characters", f"use at most {most}"))
    if not DNS_1035.fullmatch(name):
        fix = "use lower-case letters, digits and dashes, beginning with a letter and not ending with a dash"
        alike = re.sub(r"[^a-z0-9]+", "-", shown_name.lower()).strip("-")[:NAME_MAX_LENGTH].rstrip("-")
        fix += f", such as {alike}" if DNS_1035.fullmatch(alike) and given == "name" else ""
        errors.append(InputError(f"metadata.{given}", f"{shown_name!r} is not a DNS-1035 label", fix))
    return shown_name.rstrip("-"), errors


def _check_status(status: Any) -> list[InputError]:
    """Name unknown fields of a status, which the API server drops otherwise, whatever its content."""
    if not isinstance(status, dict):
        return []
    try:
        FineTuneJobStatus.model_validate(status, by_alias=True, by_name=False)
    except ValidationError as error:
        unknown = [details for details in error.errors() if details["type"] == "extra_forbidden"]
        return [
            InputError(".".join(map(str, ("status", *details["loc"]))), "there is no such field", "leave the status out")
            for details in unknown
        ]
    return []


def _names_output(spec: Any) -> bool:
    if not isinstance(spec, dict):
        return True
    output = spec.get("output", {})
    return not isinstance(output, dict) or "persistentVolumeClaim" in output


def _with_output(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "output": {**spec.get("output", {}), "persistentVolumeClaim": STAND_IN_CLAIM}}


def _unknown(given: Mapping[str, Any], known: Iterable[str]) -> list[InputError]:
    known = tuple(known)
    places = {**{name: f"metadata.{name}" for name in SUGGESTED}, **{name: f"spec.{name}" for name in fields_of(FineTuneJobSpec)}}
    fixes = {name: f"it belongs at {places[name]}" if name in places else closest(name, WRITTEN, given) for name in given}
    return [InputError(name, "there is no such field", fix) for name, fix in fixes.items() if name not in known]


def _name_of(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return shown_name(metadata) if isinstance(metadata, dict) else ""


def shown_name(metadata: Mapping[str, Any]) -> str:
    """Return the name of an object for a sentence, whatever is there."""
    name = metadata.get("name") or metadata.get("generateName") or ""
    return name if isinstance(name, str) else shown(name)
