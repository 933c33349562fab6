"""Finds the files of a source: the one that its path names, those of a folder, or those that a pattern matches.

What else is there is told where a path leads nowhere. Tests: tests/trainer/data/test_files.py.
"""

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from trainer.config.errors import InputError
from trainer.config.sources import DataFormat, FileSource, Source, first_folder, is_pattern
from trainer.data.streams import PACKED_ENDINGS

ENDINGS = {
    ".jsonl": DataFormat.JSONL,
    ".ndjson": DataFormat.JSONL,
    ".json": DataFormat.JSON,
    ".csv": DataFormat.CSV,
    ".tsv": DataFormat.TSV,
    ".tab": DataFormat.TSV,
    ".parquet": DataFormat.PARQUET,
    ".txt": DataFormat.TEXT,
    ".text": DataFormat.TEXT,
    ".md": DataFormat.TEXT,
}
FOREIGN_ENDINGS = {
    (".xlsx", ".xls", ".ods"): "save the sheet as CSV",
    (".arrow", ".feather", ".orc", ".avro"): "write it as Parquet",
    (".zip", ".tar", ".tgz", ".rar", ".7z"): "unpack it and name a file in it",
    (".docx", ".doc", ".pdf", ".html", ".epub"): "save it as plain text, .txt",
    (".pkl", ".pickle", ".pt", ".npy", ".npz"): "write its rows as JSON lines",
    (".yaml", ".yml", ".xml", ".toml"): "write its rows as JSON lines",
}
SHOWN_FILES = 5


@dataclass(frozen=True)
class DataFile:
    """A file of a source. `label` tells it from the others of its source; empty where the path names this one file."""

    path: Path
    label: str = ""


def path_of(field: str, source: Source | FileSource) -> Path:
    """Return the path of a source; raises InputError for a claim or ConfigMap that nobody has resolved to a path."""
    if source.path is None:
        raise InputError(field, "does not lead to a file here", "claims and ConfigMaps are mounted by the controller or `finetune run`")
    return Path(source.path)


def files_of(field: str, path: Path, wanted: DataFormat | None) -> list[DataFile]:
    """Return the files that a path names, in the order of their names; hidden ones are left out.

    Of a folder these are the files in it, not those in folders below. Raises InputError where there are none, or where one
    is of no known format and `wanted` says none.
    """
    try:
        if path.is_dir():
            base, found = path, sorted(entry for entry in path.iterdir() if not entry.name.startswith(".") and not entry.is_dir())
            missing = f"there are no files in the folder {path}"
        elif is_pattern(str(path)) and not os.path.lexists(path):
            base = first_folder(path)
            found = sorted(Path(match) for match in glob.glob(str(path), recursive=True) if not Path(match).is_dir())
            missing = f"no file matches {path}"
        else:
            check_file(field, path)
            return [DataFile(path)]
    except OSError as error:
        raise unreadable(field, path, error) from error
    if not found:
        raise InputError(field, missing, _inside(base))
    for file in found:
        check_file(field, file)
        if wanted is None and known_format(file) is None:
            endings = sorted({f"*{''.join(other.suffixes[-2:])}" for other in found if known_format(other) is not None})
            fix = f"name the files that are meant with a pattern, such as {base / (endings[0] if endings else '*.jsonl')}"
            raise InputError(field, f"{file} is of no known format", fix)
    return [DataFile(file, str(file.relative_to(base))) for file in found]


def check_file(field: str, path: Path) -> None:
    """Raise InputError unless `path` is a file."""
    try:
        if path.is_dir():
            raise InputError(field, f"{path} is a folder", f"name a file in it; {_inside(path)}")
        if not path.exists():
            dangling = path.is_symlink()
            problem = f"{path} is a link to a file that is not there" if dangling else f"there is no file {path}"
            raise InputError(field, problem, "mend or remove the link" if dangling else _neighbours(path))
        if not path.is_file():
            raise InputError(field, f"{path} is neither a file nor a folder but a device or a pipe", "write the rows to a file")
    except OSError as error:
        raise unreadable(field, path, error) from error


def unreadable(field: str, path: Path, error: OSError) -> InputError:
    """Return the error for a file that the system does not let us read."""
    return InputError(field, f"{path} cannot be read: {error.strerror or error}", "check the path and its permissions")


def known_format(path: Path) -> DataFormat | None:
    """Return the format that the ending of a file's name says, before that of what it is packed with."""
    name = path.name.lower()
    ending = Path(name).suffix
    if ending in PACKED_ENDINGS:
        ending = Path(name.removesuffix(ending)).suffix
    return ENDINGS.get(ending)


def format_of(field: str, path: Path) -> DataFormat:
    """Return the format that the ending of a file's name says; raises InputError for one that says nothing."""
    known = known_format(path)
    if known is not None:
        return known
    foreign = next((fix for endings, fix in FOREIGN_ENDINGS.items() if path.suffix.lower() in endings), None)
    if foreign is not None:
        raise InputError(field, f"{path.name} is of a format that is not read", foreign)
    problem = f"the name {path.name} does not tell its format (known endings: {', '.join(ENDINGS)}, packed or not)"
    raise InputError(f"{field}.format", problem, f"give format: {', '.join(DataFormat)}")


def _inside(folder: Path) -> str:
    """Say what is in a folder."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    if not entries:
        return f"the folder {folder} is empty"
    more = ", …" if len(entries) > SHOWN_FILES else ""
    said = f"the folder {folder} has: {', '.join(entries[:SHOWN_FILES])}{more}"
    if all(name.endswith("/") for name in entries):
        return f"{said}; files in folders below are named by a pattern such as {folder / '**' / '*.jsonl'}"
    return said


def _neighbours(path: Path) -> str:
    return _inside(path.parent) if path.parent.is_dir() else f"there is no folder {path.parent} either"
