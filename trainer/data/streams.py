"""Opens a file as numbered lines of text, compressed or not; its first bytes show what it is, not its name.

Decompresses as it reads, and gives long lines in parts, so that a large file need never be in memory as a whole.
Tests: tests/trainer/data/test_streams.py.
"""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from finetune.api.errors import InputError

HEAD_BYTES = 512
PART_SIZE = 1 << 18
"""Bytes, or characters of UTF-16 and UTF-32, after which a line is given in parts."""


def _gzip(path: Path) -> BinaryIO:
    import gzip

    return cast(BinaryIO, gzip.open(path, "rb"))


def _zstd(path: Path) -> BinaryIO:
    import pyarrow

    return cast(BinaryIO, pyarrow.CompressedInputStream(pyarrow.OSFile(str(path), "rb"), "zstd"))


def _bzip2(path: Path) -> BinaryIO:
    import bz2

    return cast(BinaryIO, bz2.open(path, "rb"))


def _xz(path: Path) -> BinaryIO:
    import lzma

    return cast(BinaryIO, lzma.open(path, "rb"))


PACKINGS: list[tuple[bytes, str, Callable[[Path], BinaryIO]]] = [
    (b"\x1f\x8b", "gzip", _gzip),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    # A frame that readers skip; parallel writers such as pzstd put one first.
    *((b"%c\x2a\x4d\x18" % kind, "zstd", _zstd) for kind in range(0x50, 0x60)),
    *((b"BZh%d1AY&SY" % level, "bzip2", _bzip2) for level in range(1, 10)),
    (b"\xfd7zXZ\0", "xz", _xz),
]
FOREIGN = [
    (b"PAR1", "a Parquet file", "give format: parquet, or let its name end in .parquet"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save the sheet as CSV"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"%PDF", "a PDF", "save it as plain text"),
    (b"SQLite format 3", "a database", "export the table as CSV"),
]
# Longest first: the mark of UTF-32 begins with that of UTF-16.
BYTE_ORDER_MARKS = [
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
]


def numbered_lines(field: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end), as `numbered_parts` reads them."""
    return whole_lines(numbered_parts(field, path))


def whole_lines(parts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Join the parts of each line, and leave out its end."""
    begun: list[str] = []
    number = 0
    for number, part in parts:
        if not part.endswith("\n"):
            begun.append(part)
        elif begun:
            yield number, "".join((*begun, part)).rstrip("\r\n")
            begun.clear()
        else:
            yield number, part.rstrip("\r\n")
    if begun:
        yield number, "".join(begun).rstrip("\r\n")


def numbered_parts(field: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line), or the parts of a long line one after the other; the end of a line is in its last part.

    Only \\n and \\r\\n end a line, as JSON strings may hold other separators. Text is UTF-8, or what a byte order mark says.
    Raises InputError naming the line for anything else, and for a truncated or damaged archive.
    """
    with _unpacked(field, path) as (stream, packing):
        number = 0
        try:
            for part_of, part in _parts(field, path, stream):
                yield part_of, part
                number = part_of if part.endswith("\n") else number
        except InputError:
            raise
        except Exception as error:
            if packing is None or not _is_damage(error):
                raise
            problem = f"{path} is not a valid {packing} archive: {str(error) or type(error).__name__}, after line {number}"
            raise InputError(field, problem, "it is cut off or damaged; write or copy it again") from error


def packing_of(path: Path) -> str | None:
    """Return the name of a file's compression, by its first bytes; None if it is not compressed."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return next((name for magic, name, _ in PACKINGS if head.startswith(magic)), None)


@contextmanager
def _unpacked(field: str, path: Path) -> Iterator[tuple[io.BufferedReader[io.RawIOBase], str | None]]:
    packing = packing_of(path)
    opener = next((opener for _, name, opener in PACKINGS if name == packing), None)
    with io.BufferedReader(cast(io.RawIOBase, opener(path) if opener else path.open("rb", buffering=0)), 1 << 16) as stream:
        try:
            head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        except Exception as error:
            if packing is None or not _is_damage(error):
                raise
            problem = f"{path} is not a valid {packing} archive: {str(error) or type(error).__name__}"
            raise InputError(field, problem, "it is cut off or damaged; write or copy it again") from error
        for magic, what, fix in FOREIGN:
            if head.startswith(magic):
                raise InputError(field, f"{path} {'holds' if packing else 'is'} {what}", f"unpack it, and {fix}" if packing else fix)
        if head[257:262] == b"ustar":
            raise InputError(field, f"{path} is a tar archive", "unpack it and name the file in it")
        yield stream, packing


def _is_damage(error: Exception) -> bool:
    # Disk errors have an errno; errors of the decompressors, some of them OSErrors, have none.
    import lzma

    return isinstance(error, EOFError | zlib.error | lzma.LZMAError) or (isinstance(error, OSError) and error.errno is None)


def _parts(field: str, path: Path, stream: io.BufferedReader[io.RawIOBase]) -> Iterator[tuple[int, str]]:
    head = stream.peek(4)[:4]
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if encoding in (None, "utf-8-sig"):
        if b"\0" in head:
            problem = f"{path} is not UTF-8 but looks like UTF-16 without a byte order mark, or is not text at all"
            raise InputError(field, problem, "save the file as UTF-8")
        yield from _utf8_parts(field, path, stream)
        return
    text = io.TextIOWrapper(stream, encoding=encoding, newline="\n")
    number = 0
    try:
        while part := text.readline(PART_SIZE):
            yield number + 1, part
            number += part.endswith("\n")
    except UnicodeError as error:
        problem = f"{path} is not valid {str(encoding).upper()}, the encoding of its byte order mark, after line {number}"
        raise InputError(field, problem, "save the file as UTF-8") from error
    finally:
        text.detach()


def _utf8_parts(field: str, path: Path, stream: io.BufferedReader[io.RawIOBase]) -> Iterator[tuple[int, str]]:
    number, passed, rest = 1, 0, b""
    if stream.peek(3)[:3] == codecs.BOM_UTF8:
        stream.read(3)
    while part := stream.readline(PART_SIZE):
        content, ended = rest + part, part.endswith(b"\n")
        try:
            # A part may end within a character.
            text, used = codecs.utf_8_decode(content, "strict", ended)
        except UnicodeDecodeError as error:
            raise _not_utf8(field, path, number, passed + error.start, content[error.start]) from error
        yield number, text
        number, passed, rest = (number + 1, 0, b"") if ended else (number, passed + used, content[used:])
    if rest:
        raise _not_utf8(field, path, number, passed, rest[0])


def _not_utf8(field: str, path: Path, number: int, place: int, byte: int) -> InputError:
    problem = f"{path} line {number} is not UTF-8: byte 0x{byte:02x} at position {place + 1}"
    fix = "save the file as UTF-8; convert one from Windows with: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
    return InputError(field, problem, fix)
