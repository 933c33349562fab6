"""`finetune explain [FIELD]`: the documentation of a field, as `kubectl explain` gives it, without a cluster.

Tests: tests/finetune/cli/test_explain.py.
"""

import shutil
import textwrap
from collections.abc import Iterator

from finetune.api.base import WireModel
from finetune.api.errors import BadInputError, InputError
from finetune.api.fielddocs import ENTRY, FieldDoc, UnknownFieldError, document_resource, find
from finetune.api.record import EXIT_SUCCESS
from finetune.api.spec import API_VERSION, KIND, SHORT_NAME, FineTuneJobSpec
from finetune.api.status import FineTuneJobStatus
from finetune.cli.jobfile.fields import Location
from finetune.cli.jobfile.suggestions import for_unknown_field

WIDEST = 100
MODELS: dict[str, type[WireModel]] = {"spec": FineTuneJobSpec, "status": FineTuneJobStatus}


def explain(path: str, *, recursive: bool) -> int:
    """Print the documentation of the field at `path`, of the whole spec where it is empty; BadInputError for an unknown one."""
    resource = document_resource()
    try:
        field = find(resource, path)
    except UnknownFieldError as error:
        raise BadInputError([_unknown(error)]) from None
    for line in _tree(field, "") if recursive else _page(field):
        print(line)
    return EXIT_SUCCESS


def _page(field: FieldDoc) -> Iterator[str]:
    yield f"KIND:     {KIND}"
    yield f"VERSION:  {API_VERSION}"
    if field.path:
        yield f"FIELD:    {_title(field, field.path)}"
    yield ""
    yield from _wrapped(field.description)
    facts = [("Default", field.shown_default()), ("Allowed", field.allowed), *(("Rule", rule) for rule in field.rules)]
    stated = [line for label, fact in facts if fact for line in _wrapped(f"{label}: {fact}")]
    yield from ["", *stated] if stated and field.description else stated
    if field.members:
        yield from ("", "FIELDS:")
        yield from _members(field, "  ")
    if not field.path:
        yield from ("", "`finetune explain training` describes one of them, `finetune explain --recursive` lists all.")


def _members(field: FieldDoc, indent: str) -> Iterator[str]:
    for member in field.members:
        yield f"{indent}{_title(member, member.name)}"
        yield from _wrapped(_with_default(member), indent + "    ")
        if member.path == "spec":
            yield from _members(member, indent + "  ")


def _with_default(field: FieldDoc) -> str:
    default = field.shown_default()
    return f"{field.description} Default: {default}." if default not in ("", '""') else field.description


def _tree(field: FieldDoc, indent: str) -> Iterator[str]:
    yield f"{indent}{_title(field, field.name or KIND)}"
    for member in field.members:
        yield from _tree(member, indent + "  ")


def _title(field: FieldDoc, name: str) -> str:
    return f"{name.removesuffix(ENTRY)} <{field.kind}>{f' -{field.need}-' if field.need else ''}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    width = min(WIDEST, shutil.get_terminal_size().columns)
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _unknown(error: UnknownFieldError) -> InputError:
    """Return the mistake with the field that is probably meant."""
    parent, name = error.parent, error.name
    field = f"{parent.path}.{name}"
    if parent.path == "metadata":
        return InputError(field, "is a field of every Kubernetes object", f"with a cluster: kubectl explain {SHORT_NAME}.{field}")
    if not parent.members:
        return InputError(field, "there is no such field", f"{parent.path} is of type {parent.kind} and has no fields")
    top, *names = parent.path.split(".")
    location: Location = tuple(part for one in names for part in ((one.removesuffix(ENTRY), 0) if one.endswith(ENTRY) else (one,)))
    return InputError(field, "there is no such field", for_unknown_field(name, location, {}, MODELS[top], top))
