"""Finds the files of a source: the one that its path names, those of a folder, or those that a pattern matches.

For a path that does not exist, the error lists what is there instead. Tests: tests/trainer/data/test_files.py.
"""

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from finetune.api.errors import InputError
from finetune.api.formats import ENDINGS, PACKED_ENDINGS, known_format
from finetune.api.sources import DataFormat, FileSource, Source, first_folder, is_pattern
from trainer.storage.localfolder import LocalFolder
from trainer.storage.place import Place

FOREIGN_ENDINGS = {
    (".xlsx", ".xls", ".ods"): "save the sheet as CSV",
    (".arrow", ".feather", ".orc", ".avro"): "write it as Parquet",
    (".zip", ".tar", ".tgz", ".rar", ".7z"): "unpack it and name a file in it",
    (".docx", ".doc", ".pdf", ".html", ".epub"): "save it as plain text, .txt",
    (".pkl", ".pickle", ".pt", ".npy", ".npz"): "write its rows as JSON lines",
    (".yaml", ".yml", ".xml", ".toml"): "write its rows as JSON lines",
}
ABOUT_TEXTS = re.compile(
    r"(readme|licen[sc]e|notice|changelog|citation|contributing|copying|code[_-]of[_-]conduct)(?![a-z])", re.IGNORECASE
)
ABOUT_FILES = re.compile(
    r"(dataset_infos?|dataset_dict|state|croissant)\.json|(md5|sha\d+|check)sums?(\.\w+)?|.*\.(md5|sha1|sha256|crc)|_success|thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)
"""Files without rows that accompany data, as in a clone of a data set from the hub."""
SHOWN_FILES = 5
LOOKED_AT_FILES = 10_000
"""Files below a folder that are examined to find a pattern to suggest."""


@dataclass(frozen=True)
class DataFile:
    """A file of a source, by place and name. `label` distinguishes it from the others; empty if the source names one file."""

    place: Place
    name: str
    label: str = ""

    @property
    def path(self) -> Path:
        """The local path to read it from: a place that is not local fetches the file now."""
        return self.place.fetch(self.name)


def path_of(field: str, source: Source | FileSource) -> Path:
    """Return the path of a source; raises InputError for a claim or ConfigMap that was not resolved to a path."""
    if source.path is None:
        raise InputError(field, "does not lead to a file here", "the controller or `finetune run` mounts claims and ConfigMaps")
    return Path(source.path)


def files_of(field: str, path: Path, wanted: DataFormat | None) -> tuple[list[DataFile], list[str]]:
    """Return the files that a path names, sorted by name, and findings; hidden files are left out.

    A folder means the files directly in it, except files about the data, such as README.md. Raises InputError if there are none
    and, unless `wanted` gives the format, if a file's format is unknown or a folder mixes plain text with files of rows.
    """
    about: list[str] = []
    try:
        if path.is_dir():
            base, entries = path, sorted(each for each in path.iterdir() if not (each.name.startswith(".") or each.is_dir()))
            about = [entry.name for entry in entries if _is_about_data(entry)]
            found = [entry for entry in entries if entry.name not in about]
            missing = f"there are no files {'with rows ' if about else ''}in the folder {path}"
        elif is_pattern(str(path)) and not os.path.lexists(path):
            base = first_folder(path)
            # Two ** in a pattern match a file in several ways.
            found = sorted({Path(match) for match in glob.glob(str(path), recursive=True) if not Path(match).is_dir()})
            missing = f"no file matches {path}"
        else:
            check_file(field, path)
            return [DataFile(LocalFolder(path.parent), path.name)], []
    except OSError as error:
        raise unreadable(field, path, error) from error
    if not found:
        raise InputError(field, missing, _inside(base))
    for file in found:
        check_file(field, file)
    if wanted is None:
        _check_formats(field, base, found, mixed=base != path)
    names, findings = [str(file.relative_to(base)) for file in found], list[str]()
    if about:
        every = path / "*"
        verb = "is" if len(about) == 1 else "are"
        findings.append(
            f"{field}: of {path} {_named(about)} {verb} not read, being documentation of the data; a pattern such as {every} reads all"
        )
    if len(found) > 1:
        findings.append(f"{field}: {len(found)} files are read: {_named(names)}")
    return [DataFile(LocalFolder(file.parent), file.name, _readable(name)) for file, name in zip(found, names, strict=True)], findings


def _check_formats(field: str, base: Path, found: Sequence[Path], *, mixed: bool) -> None:
    """Raise InputError for a file of unknown format and, unless `mixed` is allowed, for plain text beside files of rows."""
    known = {file: kind for file in found if (kind := known_format(file)) is not None}
    texts = [file for file, kind in known.items() if kind is DataFormat.TEXT]
    rows = [file for file in known if file not in texts]
    ending, _ = Counter(map(_ending, rows or texts or [Path("rows.jsonl")])).most_common(1)[0]
    fix = f"name the files that are meant with a pattern, such as {base / f'*{ending}'}"
    unknown = next((file for file in found if file not in known), None)
    if unknown is not None:
        raise InputError(field, f"the format of {unknown} is unknown", fix)
    if texts and rows and not mixed:
        problem = f"the folder {base} has both plain text ({texts[0].name}) and files of rows ({rows[0].name})"
        raise InputError(field, problem, f"{fix}; a source of its own can read the others")


def _is_about_data(file: Path) -> bool:
    text = known_format(file) in (None, DataFormat.TEXT) and ABOUT_TEXTS.match(file.name)
    return bool(text or ABOUT_FILES.fullmatch(file.name))


def _is_data(file: Path) -> bool:
    return known_format(file) is not None and not _is_about_data(file) and not file.is_dir()


def _named(names: Sequence[str]) -> str:
    return ", ".join(map(_readable, names[:SHOWN_FILES])) + (", …" if len(names) > SHOWN_FILES else "")


def _readable(name: str) -> str:
    """Return a file's name with \\x.. for each byte that is not UTF-8: the name itself could be neither stored as text nor printed."""
    return os.fsencode(name).decode(errors="backslashreplace")


def check_file(field: str, path: Path) -> None:
    """Raise InputError unless `path` is a file."""
    try:
        if path.is_dir():
            raise InputError(field, f"{path} is a folder", f"name a file in it; {_inside(path)}")
        if not path.exists():
            dangling = path.is_symlink()
            problem = f"{path} is a link to a file that is not there" if dangling else f"there is no file {path}"
            raise InputError(field, problem, "correct or remove the link" if dangling else _neighbors(path))
        if not path.is_file():
            raise InputError(field, f"{path} is neither a file nor a folder but a device or a pipe", "write the rows to a file")
    except OSError as error:
        raise unreadable(field, path, error) from error


def unreadable(field: str, path: Path, error: OSError) -> InputError:
    """Return the error for a file that the operating system cannot read."""
    return InputError(field, f"{path} cannot be read: {error.strerror or error}", "check the path and its permissions")


def _ending(path: Path) -> str:
    """Return the ending of a file's name including its compression, such as .jsonl.gz."""
    return "".join(path.suffixes[-2 if path.suffix.lower() in PACKED_ENDINGS else -1 :])


def format_of(field: str, path: Path) -> DataFormat:
    """Return the format by the ending of a file's name; raises InputError if it is unknown."""
    known = known_format(path)
    if known is not None:
        return known
    foreign = next((fix for endings, fix in FOREIGN_ENDINGS.items() if path.suffix.lower() in endings), None)
    if foreign is not None:
        raise InputError(field, f"the format of {path.name} is not supported", foreign)
    problem = f"the name {path.name} does not show its format (known endings: {', '.join(ENDINGS)}, packed or not)"
    raise InputError(f"{field}.format", problem, f"give format: {', '.join(DataFormat)}")


def _inside(folder: Path) -> str:
    """Describe the content of a folder."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    if not entries:
        return f"the folder {folder} is empty"
    said = f"the folder {folder} has: {_named(entries)}"
    if any(name.endswith("/") for name in entries) and not any(_is_data(entry) for entry in folder.iterdir()):
        below = next((entry for entry in islice(folder.rglob("*"), LOOKED_AT_FILES) if _is_data(entry)), None)
        pattern = folder / "**" / f"*{_ending(below) if below else '.jsonl'}"
        return f"{said}; files in folders below are named by a pattern such as {pattern}"
    return said


def _neighbors(path: Path) -> str:
    return _inside(path.parent) if path.parent.is_dir() else f"there is no folder {path.parent} either"
