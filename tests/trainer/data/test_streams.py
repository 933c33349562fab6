"""Files are read as lines of text, packed or not, in the encoding that they tell; what is torn or no text is refused."""

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from trainer.data import streams
from trainer.data.streams import numbered_lines, numbered_parts

FIELD = "data.train[0]"
LINES = [f"line {number}: ä\u2028漢" for number in range(5000)]
TEXT = "\n".join(LINES).encode()


def read(folder: Path, content: bytes, name: str = "rows.jsonl") -> list[str]:
    (folder / name).write_bytes(content)
    return [line for _, line in numbered_lines(FIELD, folder / name)]


def fault(folder: Path, content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, content)
    assert caught.value.field == FIELD
    assert "rows.jsonl" in caught.value.problem
    assert caught.value.fix
    return str(caught.value)


def zstd_file(folder: Path, content: bytes) -> bytes:
    import pyarrow

    path = folder / "packed"
    with pyarrow.CompressedOutputStream(pyarrow.OSFile(str(path), "wb"), "zstd") as stream:
        stream.write(content)
    return path.read_bytes()


PACKERS: list[tuple[str, Callable[[Path, bytes], bytes]]] = [
    ("gzip", lambda _, content: gzip.compress(content)),
    ("zstd", zstd_file),
    ("bzip2", lambda _, content: bz2.compress(content)),
    ("xz", lambda _, content: lzma.compress(content)),
]


@pytest.mark.parametrize(("name", "pack"), PACKERS, ids=[name for name, _ in PACKERS])
def test_a_packed_file_is_unpacked_whatever_its_name(tmp_path: Path, name: str, pack: Callable[[Path, bytes], bytes]) -> None:
    assert read(tmp_path, pack(tmp_path, TEXT)) == LINES


@pytest.mark.parametrize("kind", [0x50, 0x5F])
@pytest.mark.parametrize("length", [0, 4, 1_000_000])
def test_a_zstd_file_may_begin_with_frames_to_skip(tmp_path: Path, kind: int, length: int) -> None:
    skipped = bytes([kind]) + b"\x2a\x4d\x18" + length.to_bytes(4, "little") + b"x" * length
    assert read(tmp_path, skipped + zstd_file(tmp_path, b"a\nb\n") + skipped + zstd_file(tmp_path, b"c\n")) == ["a", "b", "c"]


@pytest.mark.parametrize(("name", "pack"), PACKERS[:2], ids=[name for name, _ in PACKERS[:2]])
def test_archives_one_behind_the_other_are_one_file(tmp_path: Path, name: str, pack: Callable[[Path, bytes], bytes]) -> None:
    assert read(tmp_path, pack(tmp_path, b"a\nb\n") + pack(tmp_path, b"c\n")) == ["a", "b", "c"]


@pytest.mark.parametrize(("name", "pack"), PACKERS, ids=[name for name, _ in PACKERS])
def test_a_torn_archive_is_refused(tmp_path: Path, name: str, pack: Callable[[Path, bytes], bytes]) -> None:
    packed = pack(tmp_path, TEXT)
    said = fault(tmp_path, packed[: len(packed) // 2])
    assert f"is not a valid {name} archive" in said
    assert "cut off or damaged" in said


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[len(packed) // 2] ^= 255
    assert "is not a valid gzip archive" in fault(tmp_path, bytes(packed))
    assert "is not a valid gzip archive" in fault(tmp_path, gzip.compress(TEXT) + b"something else")


def test_a_plain_file_with_the_name_of_an_archive_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, b"a\nb", "rows.jsonl.gz") == ["a", "b"]


def test_an_archive_of_files_is_refused(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("rows.jsonl"), io.BytesIO(b""))
    assert "is a tar archive; unpack it" in fault(tmp_path, sink.getvalue())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_byte_order_mark_gives_the_encoding(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = "a ä\u2028b\r\n漢\n".encode(encoding)
    assert read(tmp_path, gzip.compress(content) if packed else content) == ["a ä\u2028b", "漢"]


def test_utf_16_of_the_other_byte_order_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xfe\xff" + "ä\nb".encode("utf-16-be")) == ["ä", "b"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("text".encode("utf-16-le"), "looks like UTF-16 without a byte order mark", id="no mark"),
        pytest.param("a\nb".encode("utf-16")[:-1], "is not valid UTF-16", id="half a character"),
        pytest.param(b"a\nb\xe9c\n", "line 2 is not UTF-8: byte 0xe9 at position 2; save the file as UTF-8", id="Latin-1"),
        pytest.param(b"%PDF-1.7", "is a PDF", id="PDF"),
        pytest.param(b"SQLite format 3\0", "is a database", id="database"),
        pytest.param(b"ARROW1\0\0", "is an Arrow file; write it as Parquet", id="Arrow"),
    ],
)
def test_what_is_no_text_is_refused_with_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in fault(tmp_path, content)


@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff") | st.sampled_from("\r\nä漢😀"), max_size=40),
    size=st.integers(1, 9),
    encoding=st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
)
def test_lines_are_the_same_however_small_the_parts_are(text: str, size: int, encoding: str) -> None:
    lines = text.removesuffix("\n").split("\n") if text else []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "PART_SIZE", size)
        assert read(Path(folder), text.encode(encoding)) == [line.rstrip("\r\n") for line in lines]
        parts = list(numbered_parts(FIELD, Path(folder) / "rows.jsonl"))
    assert "".join(part for _, part in parts) == text
    assert all(part.endswith("\n") for (number, part), (following, _) in pairwise(parts) if number != following)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\n\xc3\xa4b\xe9c\n", "line 2 is not UTF-8: byte 0xe9 at position 4"),
        (b"a\nbc\xe6\xbc", "line 2 is not UTF-8: byte 0xe6 at position 3"),
    ],
    ids=["Latin-1", "half a character at the end"],
)
def test_what_is_not_utf8_is_found_wherever_a_part_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str, size: int
) -> None:
    monkeypatch.setattr(streams, "PART_SIZE", size)
    assert words in fault(tmp_path, content)


def test_lines_come_before_the_whole_file_is_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT * 50)
    (tmp_path / "rows.jsonl").write_bytes(packed[: len(packed) // 2])
    lines = numbered_lines(FIELD, tmp_path / "rows.jsonl")
    assert [next(lines) for _ in range(3)] == [(1, LINES[0]), (2, LINES[1]), (3, LINES[2])]


def test_gzip_is_read_without_a_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b"a\n"))
    program = (
        "import sys, pathlib; from trainer.data.streams import numbered_lines;"
        f"print(list(numbered_lines('f', pathlib.Path({str(tmp_path / 'rows.jsonl.gz')!r}))),"
        " {'torch', 'transformers', 'datasets', 'pyarrow', 'ray'} & set(sys.modules))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == "[(1, 'a')] set()"
