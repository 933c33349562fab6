"""Where a run's rows came from, for the report and the model card: names that mean something elsewhere, not paths of a machine.

Pure. Test: tests/trainer/reporting/test_sources.py.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

SIDES = ("train", "validation", "test")


def sources_of(data: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the sources of a job's `data` in wire form, each with the field that names it; paths may have been taken out."""
    return [
        {"field": f"data.{side}[{index}]", **_described(source)}
        for side in SIDES
        for index, source in enumerate(data.get(side) or ())
    ]  # fmt: skip


def languages_in(sources: list[dict[str, str]]) -> tuple[str, str] | None:
    """Return the languages of the first source that says them."""
    first = next((source["languages"] for source in sources if "languages" in source), None)
    if first is None:
        return None
    source, _, target = first.partition(" to ")
    return source, target


def pairs_in(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the languages that the training sources of a job's `data`, in wire form, translate from and into, each pair once."""
    sources = [source for source in data.get("train") or () if source.get("sourceLanguage")]
    return tuple(dict.fromkeys((source["sourceLanguage"], source["targetLanguage"]) for source in sources))


def _described(source: Mapping[str, Any]) -> dict[str, str]:
    return dict(_parts(source))


def _parts(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    on_hub = source.get("huggingFace")
    if on_hub:
        yield "name", on_hub["name"]
        yield "dataset", on_hub["name"]
        for key in ("config", "split", "revision"):
            if on_hub.get(key):
                yield key, on_hub[key]
    else:
        yield "name", PurePath(source["path"]).name if source.get("path") else "a file"
    if source.get("sourceLanguage"):
        yield "languages", f"{source['sourceLanguage']} to {source['targetLanguage']}"
