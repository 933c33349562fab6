import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune.system.files import drop_cached, sync, write_atomically


def test_a_reader_sees_the_old_text_or_the_new_and_nothing_beside_it_stays(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    texts = ["a" * 100_000, "b" * 100_000]
    write_atomically(file, texts[0])
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(file.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(200):
        write_atomically(file, texts[turn % 2])
    done.set()
    reader.join()
    assert seen <= set(texts)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_write_that_fails_leaves_the_old_text_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "record.json"
    write_atomically(file, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("finetune.system.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new", durable=True)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("supported", [True, False])
def test_a_file_that_memory_has_dropped_reads_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, supported: bool) -> None:
    if not supported:
        monkeypatch.delattr("finetune.system.files.os.posix_fadvise", raising=False)
    file = tmp_path / "weights"
    file.write_bytes(b"0123456789" * 1000)
    sync(file)
    drop_cached(file)
    assert file.read_bytes() == b"0123456789" * 1000


KILLED_BEFORE_THE_RENAME = """
import os, pathlib, signal, sys
from finetune.system.files import write_atomically
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(pathlib.Path(sys.argv[1]), "half")
"""


def test_what_a_killed_writer_leaves_is_replaced_by_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    write_atomically(file, "old")
    done = subprocess.run([sys.executable, "-c", KILLED_BEFORE_THE_RENAME, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2

    write_atomically(file, "new")

    assert file.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
