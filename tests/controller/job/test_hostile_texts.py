"""Whatever text a user writes into a job: it is refused with the field's name, or is harmless wherever an attempt's objects carry it.

Every text of the generated definition is tried, so that a new field is too; what a place in an object may hold is in PLACES, and what it
holds for no reason that is listed there fails.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from posixpath import normpath
from typing import Any

import pytest

from controller.job import names
from controller.job.facts import Job
from controller.job.objects.attempt import objects_of
from controller.job.objects.form import CONFIG_ANNOTATION, Form
from controller.kinds import FINE_TUNE_JOBS
from controller.runtime.logs import JsonFormatter, TextFormatter
from finetune.api.resolve import named_jobs
from finetune.api.sources import CLAIMS_DIRECTORY
from finetune.api.status import EarlierJob
from tests.controller.job.builders import UID, Settings, job, status
from tests.controller.job.hostile import KEY, TEXTS, Field, context_of, fields, refusals, with_text
from tests.controller.job.world import World
from tests.fakes import CREATED

FORMS = (Form(), Form(config_inside=True, shared_account=True))
NEVER = {
    ("model", "fineTuneJob"): "a model that rewrites texts is named by its folder",
    ("there", "fineTuneJob"): "a model that translates is named by its folder",
    ("back", "fineTuneJob"): "a model that translates is named by its folder",
    ("model", "tokenSecret"): "the token is that of spec.model",
    ("there", "tokenSecret"): "the token is that of spec.model",
    ("back", "tokenSecret"): "the token is that of spec.model",
}
"""Members below `augmentation` that every job with them is refused for, whatever they say: no harmless text is tried there."""
LOCAL = "path"
"""A file of the machine on which `finetune run` is: the controller builds nothing for a job with it."""

LABEL_NAME = r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def an_object_name(text: str) -> bool:
    return len(text) <= 253 and re.fullmatch(SUBDOMAIN, text) is not None


def a_key(text: str) -> bool:
    return len(text) <= 253 and re.fullmatch(r"[-._a-zA-Z0-9]+", text) is not None and text != "." and not text.startswith("..")


def a_label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    return re.fullmatch(LABEL_NAME, name) is not None and (an_object_name(prefix) if slash else True)


def a_label_value(text: str) -> bool:
    return not text or re.fullmatch(LABEL_NAME, text) is not None


def a_path_below_its_folder(text: str) -> bool:
    inside = text.removeprefix(f"{CLAIMS_DIRECTORY}/").removeprefix(f"{names.CONFIG_MAPS_DIRECTORY}/").removeprefix("pvc://")
    first = inside.split("/")[0]
    return text.isprintable() and normpath(inside).split("/")[0] == first and not inside.startswith(("/", ".."))


def a_revision(text: str) -> bool:
    """A part of paths in the hub's cache."""
    return re.fullmatch(r"[-\w./@#=,()!%+]+", text, re.ASCII) is not None and ".." not in text and not text.startswith(("/", "-"))


def quoted(text: str) -> bool:
    """JSON in which every path is below the claim or ConfigMap that it is in; what else is in it, the trainer reads as data."""
    found = list(texts_in(json.loads(text)))
    paths = [value for _, value in found if value.startswith((CLAIMS_DIRECTORY, names.CONFIG_MAPS_DIRECTORY, "pvc://"))]
    revisions = [value for place, value in found if place[-1] == "revision"]
    return text.replace("\n", "").isprintable() and all(map(a_path_below_its_folder, paths)) and all(map(a_revision, revisions))


PLACES: dict[tuple[str, ...], Callable[[str], bool]] = {
    ("data", names.CONFIG_KEY): quoted,
    ("annotations", CONFIG_ANNOTATION): quoted,
    ("persistentVolumeClaim", "claimName"): an_object_name,
    ("configMap", "name"): an_object_name,
    ("secretKeyRef", "name"): an_object_name,
    ("secretKeyRef", "key"): a_key,
    ("spec", "priorityClassName"): an_object_name,
    ("nodeSelector", KEY): a_label_key,
    ("nodeSelector", "*"): a_label_value,
    ("tolerations", "key"): a_label_key,
    ("tolerations", "value"): a_label_value,
    ("volumeMounts", "mountPath"): a_path_below_its_folder,
    ("volumeMounts", "subPath"): a_path_below_its_folder,
}
"""Where texts of a user may be, by the end of the place, and what they are there; all else is the controller's own, and the operator's.

Of a resource's amounts (cpu, memory) the rules take numbers with a unit alone.
"""


def texts_in(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text of an object with its place, and every key; entries of lists are in the list's place."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*place, KEY), name
            yield from texts_in(member, (*place, name))
    elif isinstance(value, list):
        for entry in value:
            yield from texts_in(entry, place)
    elif isinstance(value, str):
        yield place, value


def observed_job(spec: dict[str, Any]) -> Job:
    """Return the job as the controller sees it once the jobs that it names have succeeded; it waits in a queue."""
    seen = job(**spec)
    claim = seen.valid_spec.output.persistent_volume_claim
    earlier = [EarlierJob(spec_field=named.field, name=named.name, uid=UID, output=claim) for named in named_jobs(seen.valid_spec)]
    return replace(seen, status=status(earlier_jobs=earlier or None), queue="queue")


def built(spec: dict[str, Any]) -> set[tuple[tuple[str, ...], str]]:
    """Return all texts of the objects of the job's first attempt, in each of its forms."""
    seen = observed_job(spec)
    items = [(each.resource.kind, each.item) for form in FORMS for each in objects_of(seen, 1, Settings(), {}, form)]
    return {found for kind, item in items for found in texts_in(item, (kind,))}


def allowed_at(place: tuple[str, ...]) -> Callable[[str], bool] | None:
    return next((check for end, check in PLACES.items() if all(a in ("*", b) for a, b in zip(end, place[-len(end) :], strict=True))), None)


def is_refused_with_any_text(field: Field) -> bool:
    return field.place[0] == "augmentation" and any(pair in NEVER for pair in zip(field.place, field.place[1:], strict=False))


def is_local(field: Field) -> bool:
    return field.place[-1] == LOCAL and "persistentVolumeClaim" not in field.place


@pytest.mark.parametrize("field", fields(), ids=lambda field: field.name)
def test_a_text_is_refused_by_its_field_s_name_or_harmless_wherever_it_is_carried(field: Field) -> None:
    context, benign = ({}, "name") if is_refused_with_any_text(field) else context_of(field)
    ordinary = set() if is_refused_with_any_text(field) or is_local(field) else built(with_text(field, benign, context))
    for what, text in TEXTS.items():
        spec = with_text(field, text, context)
        if refused := refusals(spec):
            assert any(word in said for word in field.words for said in refused), f"{what}: {refused} does not name spec.{field.name}"
            continue
        if is_local(field):
            with pytest.raises(ValueError, match="a local path does not exist in a pod"):
                built(spec)
            continue
        for place, carried in built(spec) - ordinary:
            check = allowed_at(place)
            assert check is not None, f"{what}: {'.'.join(place)} has {carried!r}, which comes from spec.{field.name}"
            assert check(carried), f"{what}: {'.'.join(place)} has {carried!r}, which is not {check.__name__}"


def test_exceptions_are_those_of_fields_that_are_there() -> None:
    pairs = {pair for field in fields() for pair in zip(field.place, field.place[1:], strict=False) if field.place[0] == "augmentation"}
    assert NEVER.keys() <= pairs
    assert {each.name for each in fields() if is_refused_with_any_text(each)} > {
        "augmentation.operations[0].paraphrase.model.tokenSecret.key"
    }


class Said:
    """Events, with what they say."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    async def record(self, regarding: Any, type_: str, reason: str, message: str) -> None:
        self.messages += [reason, message]


@pytest.mark.parametrize("field", fields(), ids=lambda field: field.name)
async def test_status_events_and_log_of_a_job_have_no_control_characters(field: Field, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    context = {} if is_refused_with_any_text(field) else context_of(field)[0]
    world, said = World(), Said()
    world.log = said  # type: ignore[assignment]
    world.restart()
    # Also what the definition refuses: an API server may have taken it by the definition of another version.
    metadata = {"name": "bot", "namespace": "team", "uid": UID, "generation": 1, "creationTimestamp": CREATED}
    world.api.put(FINE_TUNE_JOBS, {"metadata": metadata, "spec": with_text(field, TEXTS["terminal"], context)})
    for _ in range(3):
        await world.step()

    words = [text for _, text in texts_in(world.status)] + said.messages
    assert world.status["conditions"]
    assert [text for text in words if not text.replace("\n", "").isprintable()] == []
    for record in caplog.records:
        assert JsonFormatter().format(record).isprintable()
        assert TextFormatter().format(record).replace("\n", "").isprintable()
