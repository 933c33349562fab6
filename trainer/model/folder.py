"""Check a model folder before anything is loaded from it, so that the user reads what is missing, not how loading failed.

Reads file names, config.json and the headers of safetensors files; no torch. Test: tests/trainer/model/test_folder.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.api.errors import InputError
from trainer.hub.weightnames import LAYOUT, WEIGHTS, WEIGHTS_INDEX, check_weight_names

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
IMPLEMENTATIONS = ("attn_implementation", "attn_implementation_internal", "experts_implementation", "experts_implementation_internal")
"""Ends of the names of members that transformers fetches a kernel for where they name a repository and its package is installed."""
MAX_HEADER_BYTES = 100 * 1024 * 1024
"""The format's own limit on a safetensors header."""


def check_folder(path: Path, field: str, *, weights: bool = True) -> None:
    """Raise InputError unless `path` holds a model in safetensors with its tokenizer."""
    if not path.is_dir():
        problem = f"{path} is a file, not a folder" if path.exists() else f"there is no folder {path}"
        raise InputError(field, problem, LAYOUT)
    names = sorted(entry.name for entry in path.iterdir())
    if weights:
        check_weight_names(names, field, str(path))
    _check_config(path, field)
    if not any(name in TOKENIZER_FILES for name in names):
        raise InputError(field, f"{path} has no tokenizer", "copy tokenizer.json and tokenizer_config.json of the model into it")
    if weights:
        for file in weight_files(path, field):
            _check_safetensors(file, field)


def weight_files(path: Path, field: str) -> list[Path]:
    """Return the safetensors files that transformers would load from a folder, in the order of their names."""
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    index = _read_json(path / WEIGHTS_INDEX, field)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(field, f"{path / WEIGHTS_INDEX} has no weight_map", LAYOUT)
    files = [path / name for name in sorted({str(name) for name in weight_map.values()})]
    missing = [file.name for file in files if file.parent != path or not file.is_file()]
    if missing:
        raise InputError(field, f"{path} lacks {missing[0]} ({len(missing)} of {len(files)} weight files)", "copy the whole folder")
    return files


def _check_config(path: Path, field: str) -> None:
    file = path / "config.json"
    if not file.is_file():
        raise InputError(field, f"{path} has no config.json", LAYOUT)
    config = _read_json(file, field)
    if "quantization_config" in config:
        fix = "give the model's unquantized weights"
        raise InputError(field, f"{path} holds quantized weights, which cannot be trained", fix)
    if not config.get("model_type"):
        raise InputError(field, f"{file} has no model_type", LAYOUT)
    for name, value in _implementations(config):
        if "/" in value:
            problem = f"{name} in {file} is {value}, code of the hub that would be fetched and run in place of transformers' own"
            raise InputError(field, problem, f"take {name} out of it")


def _implementations(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a configuration, or that of a part of the model, says of how attention and experts are computed."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _implementations(value)
            if name.endswith(IMPLEMENTATIONS):
                yield from ((name, part) for part in value.values() if isinstance(part, str))
        elif isinstance(value, str) and name.endswith(IMPLEMENTATIONS):
            yield name, value


def _read_json(file: Path, field: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(field, f"{file} cannot be read: {error}", "copy the file again") from error
    if not isinstance(content, dict):
        raise InputError(field, f"{file} is not a JSON object", "copy the file again")
    return content


def _check_safetensors(file: Path, field: str) -> None:
    """Compare a file's size with what its header promises: finds torn copies and pointers left by Git LFS."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if start == b"version " or len(start) < 8 or length > MAX_HEADER_BYTES or length + 8 > size:
            fix = "copy the file again (a Git LFS pointer is not the file: git lfs pull)"
            raise InputError(field, f"{file} is not a safetensors file", fix)
        try:
            header = json.loads(stream.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise InputError(field, f"{file} has a broken header: {error!r}", "copy the file again") from error
    if size != 8 + length + end:
        raise InputError(field, f"{file} has {size} bytes where its header says {8 + length + end}", "copy the file again")
